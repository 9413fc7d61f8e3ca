"""Loads aggregates: the newest snapshot and the events after it, in one round trip."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, NamedTuple, Protocol, TypeVar
from uuid import UUID

import psycopg
import structlog
from psycopg.rows import args_row
from psycopg_pool import AsyncConnectionPool
from pydantic import BaseModel

from domain.shared.aggregates import AggregateType
from domain.shared.events import Event
from eventstore.applications import is_ours
from eventstore.faults import raise_unavailable
from eventstore.mapper import PydanticMapper
from eventstore.records import StreamEvent
from eventstore.snapshots import Tail, UnusableSnapshot, Versioned, decode_snapshot
from eventstore.voiding import decoded_but_voided

log = structlog.get_logger()

S = TypeVar("S", bound=BaseModel)

_LOAD = f"""
with snapshot as (
    select s.version, s.data from varve.snapshots s
    where s.tenant = %(tenant)s and s.stream = %(stream)s and s.schema_version = %(schema_version)s
      -- One that was taken while an event in it was voided must not be used.
      and not exists (select from varve.voided v where v.tenant = s.tenant and v.stream = s.stream
                      and v.version <= s.version and v.voided_version > s.version)
    order by s.version desc limit 1
)
select version, '' as topic, 0::smallint as class_version, data from snapshot
union all
(select e.version, e.topic, e.class_version, e.data from varve.events e
 where e.tenant = %(tenant)s and e.stream = %(stream)s and e.version > coalesce((select version from snapshot), 0)
   -- True of every version. With one bound, which it can't know, a plan expects a third of the stream, and for a long
   -- one reads the whole table; with two it expects a two-hundredth and walks the index.
   and e.version <= {2**31 - 1}
   and {is_ours("e.tags")}
 order by e.version)
"""


class _Row(NamedTuple):
    """An event, or the snapshot: it has no topic."""

    version: int
    topic: str
    class_version: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Loaded(Generic[S]):
    """An aggregate as loaded, and what that costs; `version` is 0 and `state` None when it has no events."""

    stream: str
    version: int
    state: S | None
    tail: Tail = field(default_factory=Tail, compare=False)


class NoteLoad(Protocol):
    """Is told of a state and of what it costs to load; `SnapshotTaker.note` is one."""

    def __call__(self, aggregate_type: AggregateType[S], tenant: str, loaded: Versioned[S], tail: Tail, /) -> None: ...


def note_nothing(aggregate_type: AggregateType[S], tenant: str, loaded: Versioned[S], tail: Tail) -> None:
    del aggregate_type, tenant, loaded, tail


class AggregateRepository:
    """Loads the current state of aggregates, as the connections of the write side see it."""

    def __init__(
        self, pool: AsyncConnectionPool[Any], mapper: PydanticMapper, note_load: NoteLoad = note_nothing
    ) -> None:
        self._pool = pool
        self._mapper = mapper
        self._note_load = note_load

    async def load(self, aggregate_type: AggregateType[S], tenant: str, aggregate_id: UUID) -> Loaded[S]:
        """Return the aggregate's state after its last event.

        Raises:
            StoreUnavailable: the database can't be reached.
            UnknownEventType: newer code wrote one of the events.
        """
        stream = aggregate_type.stream(aggregate_id)
        rows = await self._rows(tenant, stream, aggregate_type.snapshot_version)
        state: S | None = None
        tail = Tail()
        if rows and not rows[0].topic:
            try:
                state = decode_snapshot(aggregate_type, stream, rows[0].version, rows[0].data).state
            except UnusableSnapshot as error:
                log.warning("snapshot.ignored", tenant=tenant, stream=stream, error=str(error))
                rows = await self._rows(tenant, stream, None)
            else:
                tail.snapshot_bytes = len(rows[0].data)
        version = rows[-1].version if rows else 0
        if state is not None:
            del rows[0]
        tail.events, tail.event_bytes = len(rows), sum(len(row.data) for row in rows)
        for event in self._events(rows):
            state = aggregate_type.evolve(state, event)
        self._note_load(aggregate_type, tenant, Versioned(stream, version, state), tail)
        return Loaded(stream, version, state, tail)

    async def _rows(self, tenant: str, stream: str, schema_version: int | None) -> list[_Row]:
        """Return the newest snapshot of that version, if there is one, and the events after it."""
        parameters = {"tenant": tenant, "stream": stream, "schema_version": schema_version}
        try:
            async with self._pool.connection() as connection:
                cursor = connection.cursor(row_factory=args_row(_Row), binary=True)
                await cursor.execute(_LOAD, parameters, prepare=True)
                rows: list[_Row] = await cursor.fetchall()
        except psycopg.Error as error:
            raise_unavailable(error)
            raise
        return rows

    def _events(self, rows: Sequence[_Row]) -> Iterable[Event]:
        """Return the events that are to be folded: without the voided ones and those that void."""
        decode = self._mapper.event_types.decode
        return [event for _, event in decoded_but_voided(rows, decode)]


def fold(aggregate_type: AggregateType[S], state: S | None, events: Iterable[StreamEvent]) -> S | None:
    """Return `state` after `events`; the projector function of an aggregate type."""
    for event in events:
        state = aggregate_type.evolve(state, event.event)
    return state


def stream_events(
    stream: str, version: int, events: Iterable[Event], tags: tuple[str, ...] = ()
) -> tuple[StreamEvent, ...]:
    """Number `events` as the ones that follow `version` in `stream`; each has the `tags`."""
    return tuple(StreamEvent(stream, version + offset, event, tags) for offset, event in enumerate(events, start=1))
