"""A projection whose fold does at some events what no fold should, and the children that run it."""

import asyncio
import os
import re
import time
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, ClassVar

from domain.knowledge.events import ENTRY_EVENTS, KnowledgeEntryCreated
from domain.shared.events import Event
from eventstore.mapper import EventTypes
from eventstore.records import RecordedEvent
from projections.appended import CountingProjection
from projections.definition import Connection, Generation, Projection
from projections.rows import Key
from tests.projections.counting import Listed
from varve.lane_child import registered
from varve.settings import Settings

_CHUNK = 50_000_000


def loop_in_c() -> None:
    """Keep the interpreter lock in a regular expression."""
    re.match(r"(a+)+$", "a" * 60 + "b")


def loop_in_python() -> None:
    while True:
        pass


def sleep_for_ever() -> None:
    while True:
        time.sleep(60)


def leave() -> None:
    os._exit(1)


def crash() -> None:
    os.abort()


def eat_memory() -> None:
    eaten = []
    while True:
        eaten.append(bytes(_CHUNK))


FOLDS: Mapping[str, Callable[[], None]] = {
    "loops in C": loop_in_c,
    "loops in Python": loop_in_python,
    "sleeps": sleep_for_ever,
    "leaves": leave,
    "crashes": crash,
    "eats memory": eat_memory,
}
"""What an entry's name has the fold do."""
ON_A_THREAD = "on a thread"
IN_DECODING = "hangs in decoding"
"""What an event's stored bytes hold that are never decoded in a child."""
DEATHS: Mapping[str, str] = {
    "loops in C": "hung",
    "loops in Python": "hung",
    "sleeps": "hung",
    "leaves": "killed",
    "crashes": "killed",
    "eats memory": "memory",
    ON_A_THREAD: "hung",
}
"""As what such an event is parked."""


class Hostile(Listed):
    """Lists the positions of each stream; does what the names of entries say before it writes anything."""

    NAME: ClassVar[str] = "hostile"
    DDL: ClassVar[str] = (
        "create table {lists} (tenant text, stream text, positions bigint[] not null, primary key (tenant, stream))"
    )

    async def apply(
        self, connection: Connection, generation: Generation, events: Sequence[RecordedEvent], prepared: Any
    ) -> None:
        for recorded in events:
            name = recorded.event.name if isinstance(recorded.event, KnowledgeEntryCreated) else ""
            if name in FOLDS:
                FOLDS[name]()
            elif name == ON_A_THREAD:
                await asyncio.to_thread(loop_in_python)
            await connection.execute(
                f"insert into {generation.table('lists')} as l values (%s, %s, %s) "
                "on conflict (tenant, stream) do update set positions = l.positions || excluded.positions",
                (recorded.tenant, recorded.stream, [recorded.position]),
            )


class HostileCounts(CountingProjection):
    """Counts the events of each stream, and is rebuilt in bulk; does what the names of entries say."""

    NAME: ClassVar[str] = "hostile_counts"
    EVENTS: ClassVar[frozenset[type[Event]]] = frozenset(ENTRY_EVENTS)
    TABLES: ClassVar[tuple[str, ...]] = ("streams",)
    DDL: ClassVar[str] = (
        "create table {streams} (tenant text, stream text, count bigint not null, primary key (tenant, stream))"
    )
    MAIN: ClassVar[str] = "streams"
    KEY: ClassVar[Mapping[str, str]] = {"tenant": "text", "stream": "text"}

    def counts(self, recorded: RecordedEvent) -> Iterable[tuple[Key, int]]:
        name = recorded.event.name if isinstance(recorded.event, KnowledgeEntryCreated) else ""
        FOLDS.get(name, lambda: None)()
        yield (recorded.tenant, recorded.stream), 1


def _hanging(decode: Callable[[EventTypes, str, int, bytes], Event]) -> Callable[[EventTypes, str, int, bytes], Event]:
    def decode_or_hang(event_types: EventTypes, topic: str, class_version: int, data: bytes) -> Event:
        if IN_DECODING.encode() in data:
            sleep_for_ever()
        return decode(event_types, topic, class_version, data)

    return decode_or_hang


@asynccontextmanager
async def opening(settings: Settings) -> AsyncIterator[Sequence[Projection]]:
    """Open what a child of these tests runs."""
    EventTypes.decode = _hanging(EventTypes.decode)  # type: ignore[method-assign]  # the process is the test's own
    async with registered(settings) as projections:
        yield [*projections, Hostile(), HostileCounts(), Listed()]
