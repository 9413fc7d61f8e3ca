"""Finds the events of a tenant that match topics and tags, in order and in windows of bounded work."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import orjson
import psycopg
from psycopg.rows import tuple_row

from eventstore.applications import is_ours
from eventstore.records import BoundaryItem
from eventstore.voiding import EventVoided

MATCHING_OPTIONS = (
    "-c enable_seqscan=off -c enable_bitmapscan=off -c enable_sort=off -c enable_incremental_sort=off -c jit=off"
)
"""What sessions that match must be opened with: a plan made for a small table has to do for millions of rows."""

_EVENTS = 1_000
_SAMPLE = 100

# Each item walks one index in the order of positions: of its tags the one that seems to have the fewest events, as its
# hundredth is the furthest away, or the tenant's events when it has none. It stops after so many candidates, and the
# window ends where the first of the walks has stopped. The conditions leave only the one index to use, even to a plan
# that was made for a small table: with `tenant = …` it might walk a log that is mostly others'.
_WINDOW = """
with span as (
    select head, coalesce(%(upto)s::bigint, head) as upto
    from (select coalesce(max(position), 0) as head from varve.events) h
), items as materialized (
    select i.number, i.topics, array(
        select o.tag from unnest(i.tags) as o (tag)
        order by (select t.position from varve.event_tags t
                  where t.tenant = %(tenant)s and t.tag = o.tag and t.position > %(after)s::bigint
                  order by t.position offset %(sample)s::bigint limit 1) desc nulls first
    ) as tags
    from jsonb_to_recordset(%(items)s::jsonb) as i (number integer, topics text[], tags text[])
), scanned as (
    select i.number, c.position, c.topic, c.matches
    from items i cross join span cross join lateral (
        (select t.position, t.topic,
                (cardinality(i.topics) = 0 or t.topic = any (i.topics))
                and not exists (select from unnest(i.tags[2:]) as o (tag)
                                where (select u.position from varve.event_tags u where u.tenant = %(tenant)s
                                       and u.tag = o.tag and u.position = t.position limit 1) is null)
{tagged_is_ours} as matches
         from varve.event_tags t
         where cardinality(i.tags) > 0 and t.tenant = %(tenant)s and t.tag = i.tags[1]
           and t.position > %(after)s::bigint and t.position <= span.upto
         order by t.tenant, t.tag, t.position limit %(candidates)s::bigint)
        union all
        (select e.position, e.topic,
                (cardinality(i.topics) = 0 or e.topic = any (i.topics)){is_ours}
         from varve.events e
         where cardinality(i.tags) = 0 and (e.tenant, e.position) > (%(tenant)s, %(after)s::bigint)
           and (e.tenant, e.position) <= (%(tenant)s, span.upto)
         order by e.tenant, e.position limit %(candidates)s::bigint)
    ) c
), reached as (
    select span.head, span.upto, coalesce(min(w.last), span.upto) as scanned_to
    from span left join (select max(position) as last from scanned group by number
                         having count(*) >= %(candidates)s::bigint) w on true
    group by span.head, span.upto
)
select r.head, r.upto, r.scanned_to, e.position, e.stream, e.version, e.topic, e.class_version, e.data, e.tags
from reached r
left join lateral (
    select found.*
    from (select distinct s.position from scanned s where s.matches and s.position <= r.scanned_to
          and not (%(leaves_out_voided)s and (s.topic = %(voiding)s or
                   (select v.position from varve.voided v
                    where v.tenant = %(tenant)s and v.position = s.position limit 1) is not null))
          order by s.position limit %(limit)s::bigint) p
    cross join lateral (select * from varve.events e where e.position = p.position limit 1) found
) e on true
order by e.position
"""
_IS_OURS = is_ours("e.tags")
_ANY = {"is_ours": "", "tagged_is_ours": ""}
_OURS = {
    "is_ours": f" and {_IS_OURS}",
    "tagged_is_ours": f" and (select {_IS_OURS} from varve.events e where e.position = t.position limit 1)",
}


class MatchedEvent(NamedTuple):
    """An event as it is stored; `stream` and `version` are None for one that has only tags."""

    position: int
    stream: str | None
    version: int | None
    topic: str
    class_version: int
    data: bytes
    tags: Sequence[str]


@dataclass(frozen=True, slots=True)
class Search:
    """The next window: after which position, up to which (the head when None), and how many events at the most."""

    tenant: str
    items: Sequence[BoundaryItem]
    after: int
    upto: int | None = None
    limit: int = _EVENTS
    candidates: int = _EVENTS
    """How many events each item may look at."""
    leaves_out_voided: bool = False
    """Whether events that were voided since are left out, and those that void."""
    only_ours: bool = False
    """Whether events that another application wrote are left out."""


@dataclass(frozen=True, slots=True)
class MatchedWindow:
    """What a search found, the position it scanned to, and the log's head in its snapshot."""

    events: Sequence[MatchedEvent]
    scanned_to: int
    upto: int
    head: int

    @property
    def is_last(self) -> bool:
        return self.scanned_to >= self.upto


def search(connection: psycopg.Connection[Any], asked: Search) -> MatchedWindow:
    cursor = connection.cursor(row_factory=tuple_row, binary=True)
    return _window(asked, cursor.execute(_statement(asked), _parameters(asked), prepare=True).fetchall())


async def search_async(connection: psycopg.AsyncConnection[Any], asked: Search) -> MatchedWindow:
    cursor = connection.cursor(row_factory=tuple_row, binary=True)
    await cursor.execute(_statement(asked), _parameters(asked), prepare=True)
    return _window(asked, await cursor.fetchall())


def windows(
    find: Callable[[Search], MatchedWindow],
    tenant: str,
    items: Sequence[BoundaryItem],
    after: int,
    *,
    upto: int | None = None,
    limit: int | None = None,
    leaves_out_voided: bool = False,
    only_ours: bool = False,
) -> Iterator[MatchedWindow]:
    """Yield windows up to `upto`, or to what is the head at the first one, until `limit` events are found."""
    while limit is None or limit > 0:
        most = _EVENTS if limit is None else min(limit, _EVENTS)
        window = find(
            Search(tenant, items, after, upto, most, leaves_out_voided=leaves_out_voided, only_ours=only_ours)
        )
        yield window
        if window.is_last:
            return
        after, upto = window.scanned_to, window.upto
        limit = None if limit is None else limit - len(window.events)


def matches(item: BoundaryItem, topic: str, tags: Sequence[str]) -> bool:
    return (not item.topics or topic in item.topics) and set(item.tags) <= set(tags)


def _statement(asked: Search) -> str:
    return _WINDOW.format(**(_OURS if asked.only_ours else _ANY))


def _parameters(asked: Search) -> dict[str, Any]:
    items = [
        {"number": number, "topics": list(item.topics), "tags": list(item.tags)}
        for number, item in enumerate(asked.items)
    ]
    return {
        "tenant": asked.tenant,
        "items": orjson.dumps(items).decode(),
        "after": asked.after,
        "upto": asked.upto,
        "limit": asked.limit,
        "candidates": asked.candidates,
        "sample": _SAMPLE,
        "leaves_out_voided": asked.leaves_out_voided,
        "voiding": EventVoided.TOPIC,
    }


def _window(asked: Search, rows: Sequence[Any]) -> MatchedWindow:
    head, upto, scanned_to = rows[0][:3]
    events = [MatchedEvent(*row[3:]) for row in rows if row[3] is not None]
    if len(events) == asked.limit:
        scanned_to = events[-1].position
    return MatchedWindow(events, scanned_to, upto, head)
