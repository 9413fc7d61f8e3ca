"""Gives each generation as many lanes as it is to have: splits and merges ranges of slots, in place."""

import contextlib
from collections.abc import Collection
from itertools import pairwise
from typing import NamedTuple

import psycopg
import structlog
from psycopg.rows import args_row

from eventstore.slots import SLOTS
from projections.definition import Connection

log = structlog.get_logger()

_MISFITS = """
select g.projection, g.generation, g.lanes::integer
from varve.generations g join varve.leases l using (projection, generation)
where g.status in ('live', 'building') and g.projection = any (%(projections)s)
group by 1, 2, 3 having count(*) <> g.lanes
"""
# A statement of its own: the next one sees the positions that were committed before these rows were free.
_LOCK = """
select from varve.leases where projection = %(projection)s and generation = %(generation)s
order by first_slot for update
"""
_LANES = """
select first_slot::integer, last_slot::integer, position from varve.lanes
where projection = %(projection)s and generation = %(generation)s order by first_slot
"""
# A new fence: whoever runs the lane now loses it at the next batch, and it is begun anew in its new bounds.
_RESIZE = """
update varve.leases set last_slot = %(last)s, fence = fence + 1, owner = null, leased_until = null
where projection = %(projection)s and generation = %(generation)s and first_slot = %(first)s
"""
_ADD = """
insert into varve.leases (projection, generation, first_slot, last_slot)
values (%(projection)s, %(generation)s, %(first)s, %(last)s)
"""
_PLACE = """
insert into varve.checkpoints (projection, generation, first_slot, position)
values (%(projection)s, %(generation)s, %(first)s, %(position)s)
"""
_REMOVE = """
delete from varve.leases
where projection = %(projection)s and generation = %(generation)s and first_slot = %(first)s
"""


class Span(NamedTuple):
    """The slots of a lane, from the first to the last, and its position."""

    first: int
    last: int
    position: int


def split(lanes: Collection[Span], wanted: int) -> list[Span]:
    """Return `wanted` lanes, made by halving the widest ones; as many as there are slots at the most."""
    spans = sorted(lanes)
    while len(spans) < min(wanted, SLOTS):
        widest = max(spans, key=lambda span: span.last - span.first)
        middle = (widest.first + widest.last) // 2
        spans.remove(widest)
        spans += [Span(widest.first, middle, widest.position), Span(middle + 1, widest.last, widest.position)]
        spans.sort()
    return spans


def merged(lanes: Collection[Span], wanted: int) -> list[Span]:
    """Return the lanes with neighbours at equal positions made one, the narrowest pairs first, down to `wanted`."""
    spans = sorted(lanes)
    while len(spans) > max(wanted, 1):
        pairs = [(one, next_) for one, next_ in pairwise(spans) if one.position == next_.position]
        if not pairs:
            return spans
        one, next_ = min(pairs, key=lambda pair: pair[1].last - pair[0].first)
        spans.remove(one)
        spans[spans.index(next_)] = Span(one.first, next_.last, one.position)
    return spans


async def adjust(connection: Connection, projections: Collection[str]) -> None:
    """Split and merge the lanes of generations that have other than they are to have.

    Lanes at unequal positions stay apart, and those that somebody keeps locked stay as they are; both are looked at
    again the next time.
    """
    cursor = await connection.execute(_MISFITS, {"projections": list(projections)}, prepare=True)
    for projection, generation, wanted in await cursor.fetchall():
        with contextlib.suppress(psycopg.errors.LockNotAvailable):
            await _fit(connection, projection, generation, wanted)


async def _fit(connection: Connection, projection: str, generation: int, wanted: int) -> None:
    parameters: dict[str, str | int] = {"projection": projection, "generation": generation}
    async with connection.transaction():
        await connection.execute("set local lock_timeout = '1s'")
        await connection.execute(_LOCK, parameters)
        cursor = connection.cursor(row_factory=args_row(Span))
        before = await (await cursor.execute(_LANES, parameters)).fetchall()
        after = split(before, wanted) if len(before) < wanted else merged(before, wanted)
        await _change(connection, parameters, set(before), set(after))
    if len(after) != len(before):
        log.info("projection.lanes_changed", projection=projection, generation=generation, lanes=len(after))


async def _change(
    connection: Connection, generation: dict[str, str | int], before: set[Span], after: set[Span]
) -> None:
    firsts = {span.first for span in before}
    for first in sorted(firsts - {span.first for span in after}):
        await connection.execute(_REMOVE, generation | {"first": first})
    for span in sorted(after - before):
        if span.first in firsts:
            await connection.execute(_RESIZE, generation | span._asdict())
        else:
            await connection.execute(_ADD, generation | span._asdict())
            await connection.execute(_PLACE, generation | span._asdict())
