"""Two projections whose rows show an event that was applied twice, where an upsert would hide it."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import ClassVar

from domain.knowledge.events import DOCUMENT_EVENTS, ENTRY_EVENTS
from domain.shared.events import Event
from eventstore.records import RecordedEvent
from projections.definition import Connection, Generation, Projection
from varve.lane_child import registered
from varve.settings import Settings

EVENTS: frozenset[type[Event]] = frozenset((*ENTRY_EVENTS, *DOCUMENT_EVENTS))
_BATCH = 10
"""So few that a rebuild is many transactions, for faults to fall between and into."""


class EventCount(Projection):
    """Counts the events of each tenant, one increment for each event."""

    NAME: ClassVar[str] = "chaos_count"
    EVENTS: ClassVar[frozenset[type[Event]]] = EVENTS
    BATCH: ClassVar[int] = _BATCH
    TABLES: ClassVar[tuple[str, ...]] = ("counts",)
    DDL: ClassVar[str] = "create table {counts} (tenant text primary key, n bigint not null)"

    async def apply(
        self, connection: Connection, generation: Generation, events: Sequence[RecordedEvent], prepared: None
    ) -> None:
        table = generation.table("counts")
        for tenant in sorted({event.tenant for event in events}):
            await connection.execute(f"insert into {table} values (%s, 0) on conflict do nothing", (tenant,))
        await connection.cursor().executemany(
            f"update {table} set n = n + 1 where tenant = %s", [(event.tenant,) for event in events]
        )


class PositionList(Projection):
    """Appends the position of each event to a table without any key."""

    NAME: ClassVar[str] = "chaos_list"
    EVENTS: ClassVar[frozenset[type[Event]]] = EVENTS
    BATCH: ClassVar[int] = _BATCH
    TABLES: ClassVar[tuple[str, ...]] = ("positions",)
    DDL: ClassVar[str] = "create table {positions} (tenant text not null, position bigint not null)"

    async def apply(
        self, connection: Connection, generation: Generation, events: Sequence[RecordedEvent], prepared: None
    ) -> None:
        await connection.cursor().executemany(
            f"insert into {generation.table('positions')} values (%s, %s)",
            [(event.tenant, event.position) for event in events],
        )


def of_the_test() -> list[Projection]:
    """Return both."""
    return [EventCount(), PositionList()]


@asynccontextmanager
async def opening(settings: Settings) -> AsyncIterator[Sequence[Projection]]:
    """Open what the children of the workers run: the registry's, and both."""
    async with registered(settings) as projections:
        yield [*projections, *of_the_test()]
