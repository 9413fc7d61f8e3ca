"""Projections in which an event that is applied twice, lost or out of order shows: an upsert would hide it."""

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, ClassVar
from uuid import UUID

from domain.knowledge.events import ENTRY_EVENTS
from domain.shared.events import Event
from eventstore.records import RecordedEvent
from projections.appended import CountingProjection
from projections.definition import Connection, Generation, NotReadyError, Projection
from projections.rows import Key


class Counted(Projection):
    """Only counts: `n = n + 1`."""

    NAME: ClassVar[str] = "counted"
    EVENTS: ClassVar[frozenset[type[Event]]] = frozenset(ENTRY_EVENTS)
    TABLES: ClassVar[tuple[str, ...]] = ("counts",)
    DDL: ClassVar[str] = "create table {counts} (tenant text primary key, n bigint not null)"
    IS_PIPELINED: ClassVar[bool] = True

    async def apply(
        self, connection: Connection, generation: Generation, events: Sequence[RecordedEvent], prepared: Any
    ) -> None:
        for event in events:
            await connection.execute(
                f"insert into {generation.table('counts')} as c values (%s, 1) "
                "on conflict (tenant) do update set n = c.n + 1",
                (event.tenant,),
            )


def named(name: str, lanes: int = 1) -> Counted:
    """Return one that only counts, under another name and in so many lanes."""

    class Named(Counted):
        NAME: ClassVar[str] = name
        LANES: ClassVar[int] = lanes

    return Named()


class EventsByTopic(CountingProjection):
    """How many events of each type a tenant has: lanes share its counters."""

    NAME: ClassVar[str] = "events_by_topic"
    EVENTS: ClassVar[frozenset[type[Event]]] = frozenset(ENTRY_EVENTS)
    TABLES: ClassVar[tuple[str, ...]] = ("topics",)
    DDL: ClassVar[str] = (
        "create table {topics} (tenant text, topic text, count bigint not null, primary key (tenant, topic))"
    )
    MAIN: ClassVar[str] = "topics"
    KEY: ClassVar[Mapping[str, str]] = {"tenant": "text", "topic": "text"}

    def counts(self, recorded: RecordedEvent) -> Iterable[tuple[Key, int]]:
        yield (recorded.tenant, recorded.event.TOPIC), 1


class Listed(Projection):
    """Only appends to a list."""

    NAME: ClassVar[str] = "listed"
    EVENTS: ClassVar[frozenset[type[Event]]] = frozenset(ENTRY_EVENTS)
    TABLES: ClassVar[tuple[str, ...]] = ("lists",)
    DDL: ClassVar[str] = "create table {lists} (tenant text primary key, positions bigint[] not null)"

    async def apply(
        self, connection: Connection, generation: Generation, events: Sequence[RecordedEvent], prepared: Any
    ) -> None:
        for event in events:
            await connection.execute(
                f"insert into {generation.table('lists')} as l values (%s, %s) "
                "on conflict (tenant) do update set positions = l.positions || excluded.positions",
                (event.tenant, [event.position]),
            )


class Sliced(Listed):
    """Keeps the sizes of its batches."""

    NAME: ClassVar[str] = "sliced"
    BATCH: ClassVar[int] = 3

    def __init__(self) -> None:
        self.sizes: list[int] = []

    async def apply(
        self, connection: Connection, generation: Generation, events: Sequence[RecordedEvent], prepared: Any
    ) -> None:
        self.sizes.append(len(events))
        await super().apply(connection, generation, events, prepared)


class Paused(Counted):
    """Stops once, before or after it has written its rows, until it is told to go on."""

    NAME: ClassVar[str] = "paused"

    def __init__(self, *, after_writing: bool) -> None:
        self._after_writing = after_writing
        self.has_stopped = asyncio.Event()
        self.may_go_on = asyncio.Event()

    async def apply(
        self, connection: Connection, generation: Generation, events: Sequence[RecordedEvent], prepared: Any
    ) -> None:
        if self._after_writing:
            await super().apply(connection, generation, events, prepared)
        self.has_stopped.set()
        await self.may_go_on.wait()
        if not self._after_writing:
            await super().apply(connection, generation, events, prepared)


class Waiting(Counted):
    """Is ready up to a position; counts how often it was asked."""

    NAME: ClassVar[str] = "waiting"

    def __init__(self) -> None:
        self.ready_to = 0
        self.asked = 0

    async def prepare(self, connection: Connection, generation: Generation, events: Sequence[RecordedEvent]) -> None:
        self.asked += 1
        if events[-1].position > self.ready_to:
            raise NotReadyError("told to wait", self.ready_to)


class Heavy(Counted):
    """Is much work; keeps how many of such lanes were at it at once."""

    IS_HEAVY: ClassVar[bool] = True
    SECONDS: ClassVar[float] = 0.05

    running: ClassVar[int] = 0
    most: ClassVar[int] = 0

    async def apply(
        self, connection: Connection, generation: Generation, events: Sequence[RecordedEvent], prepared: Any
    ) -> None:
        Heavy.running += 1
        Heavy.most = max(Heavy.most, Heavy.running)
        await asyncio.sleep(self.SECONDS)
        await super().apply(connection, generation, events, prepared)
        Heavy.running -= 1


class Failing(Counted):
    """Fails until it is mended."""

    NAME: ClassVar[str] = "failing"

    def __init__(self) -> None:
        self.is_mended = False

    async def apply(
        self, connection: Connection, generation: Generation, events: Sequence[RecordedEvent], prepared: Any
    ) -> None:
        await super().apply(connection, generation, events, prepared)
        if not self.is_mended:
            raise ValueError("this fold is wrong")


class Choosy(Listed):
    """Fails at the events of some streams until it is mended; keeps what it has listed of each stream."""

    NAME: ClassVar[str] = "choosy"
    TABLES: ClassVar[tuple[str, ...]] = ("lists",)
    DDL: ClassVar[str] = (
        "create table {lists} (tenant text, stream text, positions bigint[] not null, primary key (tenant, stream))"
    )

    def __init__(self, *bad: UUID) -> None:
        self.bad = {f"entry-{entry_id}" for entry_id in bad}

    async def apply(
        self, connection: Connection, generation: Generation, events: Sequence[RecordedEvent], prepared: Any
    ) -> None:
        for event in events:
            await connection.execute(
                f"insert into {generation.table('lists')} as l values (%s, %s, %s) "
                "on conflict (tenant, stream) do update set positions = l.positions || excluded.positions",
                (event.tenant, event.stream, [event.position]),
            )
        for event in events:
            if event.stream in self.bad:
                raise ValueError(f"cannot apply {event.stream}")


def slowly(projection: type[Projection], batch: int, pause: Callable[[], float]) -> type[Projection]:
    """Return a class that applies `batch` events at a time, each after a pause of its lane."""

    class Slow(projection):  # type: ignore[valid-type,misc]  # a class made of the one it is given
        BATCH: ClassVar[int] = batch

        def bulk(self) -> None:
            """Leave rebuilds to `apply`, too."""

        async def apply(
            self, connection: Connection, generation: Generation, events: Sequence[RecordedEvent], prepared: Any
        ) -> None:
            await asyncio.sleep(pause())
            await super().apply(connection, generation, events, prepared)

    return Slow


async def counts(connection: Connection, projection: str, generation: int = 1) -> dict[str, int]:
    cursor = await connection.execute(f"select tenant, n from read_models.{projection}_{generation}_counts")
    return dict(await cursor.fetchall())


async def positions(connection: Connection, projection: str, generation: int = 1) -> dict[str, list[int]]:
    cursor = await connection.execute(f"select tenant, positions from read_models.{projection}_{generation}_lists")
    return dict(await cursor.fetchall())


async def logged_positions(connection: Connection) -> dict[str, list[int]]:
    """Return what `listed` must hold: the positions of all events of each tenant, in order."""
    cursor = await connection.execute(
        "select tenant, array_agg(position order by position) from varve.events "
        "where topic like 'knowledge.KnowledgeEntry%' group by tenant"
    )
    return dict(await cursor.fetchall())
