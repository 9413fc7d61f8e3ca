"""Snapshots: a cache of aggregate states that is written outside requests and may be deleted at any time."""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

import psycopg
import structlog
from eventsourcing.domain import DomainEventProtocol
from eventsourcing.persistence import JSONTranscoder, Mapper, StoredEvent
from psycopg_pool import AsyncConnectionPool
from pydantic import BaseModel, ValidationError

from domain.shared.aggregates import AggregateType
from domain.shared.events import Event
from eventstore.errors import EventStoreError
from eventstore.fault_log import FAULTS
from eventstore.mapper import VersionedStoredEvent, canonical_json, encode
from eventstore.records import StreamEvent

log = structlog.get_logger()

S = TypeVar("S", bound=BaseModel)

SAVE_SNAPSHOT = """
select varve.save_snapshot(%(tenant)s, %(stream)s, %(version)s::integer, %(schema_version)s::smallint, %(topic)s,
                           %(data)b)
"""

_MOST_WAITING = 100
_ID_AND_HYPHEN = len("-00000000-0000-0000-0000-000000000000")


@dataclass(eq=False)
class UnusableSnapshot(EventStoreError):
    """The snapshot can't stand for its stream's events: it doesn't hold the state that they lead to."""

    stream: str
    version: int
    cause: str


@dataclass(frozen=True, slots=True)
class Versioned(Generic[S]):
    """An aggregate as the `eventsourcing` library wants one: a state at its place in a stream.

    `pending` are the events that led to it and are not stored yet; `id` is the stream.
    """

    id: str
    version: int = 0
    state: S | None = None
    pending: tuple[StreamEvent, ...] = ()

    def collect_events(self) -> Sequence[StreamEvent]:
        return self.pending


@dataclass(frozen=True, slots=True)
class Snapshot(Generic[S]):
    """The state of a stream after its event `originator_version`; satisfies the library's snapshot protocol."""

    originator_id: str
    originator_version: int
    state: S

    @classmethod
    def take(cls, aggregate: Versioned[S]) -> "Snapshot[S]":
        """Return the snapshot of an aggregate.

        Raises:
            UnusableSnapshot: its events have led to no state.
        """
        if aggregate.state is None:
            raise UnusableSnapshot(aggregate.id, aggregate.version, "there is no state")
        return cls(aggregate.id, aggregate.version, aggregate.state)


class AggregateTypes:
    """The kinds of aggregates that this code knows, found by their streams' names."""

    def __init__(self, *aggregate_types: AggregateType[Any]) -> None:
        self._by_category = {aggregate_type.category: aggregate_type for aggregate_type in aggregate_types}

    def of_stream(self, stream: str) -> AggregateType[Any] | None:
        return self._by_category.get(stream[:-_ID_AND_HYPHEN])


@dataclass(slots=True)
class Tail:
    """What a load has to read: the newest snapshot, and the events after it; counted on while an aggregate is kept."""

    snapshot_bytes: int = 0
    events: int = 0
    event_bytes: int = 0

    def add(self, events: Iterable[Event]) -> None:
        """Count `events`, which were stored after the others."""
        for event in events:
            self.events += 1
            self.event_bytes += len(encode(event))

    def begin_anew(self) -> None:
        """Count from here: a snapshot is about to be taken."""
        self.events = self.event_bytes = 0


@dataclass(frozen=True, slots=True)
class SnapshotPolicy:
    """When a stream gets its next snapshot: when the events after the last one cost more to load than a state does.

    To load an event takes about as long as the same number of bytes of a state. So snapshots never take more room than
    the events, and a large state is not written anew every few events; a load costs at most twice what its state does,
    or what `events` events do. That number keeps small states from being written too often.
    """

    events: int = 20
    events_by_category: Mapping[str, int] = field(default_factory=dict)

    def interval(self, aggregate_type: AggregateType[Any]) -> int:
        """Return the fewest events after which a stream of that kind gets its next snapshot."""
        return self.events_by_category.get(aggregate_type.category, self.events)

    def is_due(self, aggregate_type: AggregateType[Any], tail: Tail) -> bool:
        return tail.events >= self.interval(aggregate_type) and tail.event_bytes >= tail.snapshot_bytes


class SnapshotMapper(Mapper[str]):
    """Turns snapshots into stored rows and back; the version of the state's fields travels beside the bytes."""

    def __init__(self, aggregate_types: AggregateTypes) -> None:
        super().__init__(JSONTranscoder())
        self._aggregate_types = aggregate_types

    def to_stored_event(self, domain_event: DomainEventProtocol[str]) -> VersionedStoredEvent:
        if not isinstance(domain_event, Snapshot):
            raise TypeError(f"expected a Snapshot, not {type(domain_event).__name__}")
        return encode_snapshot(self._type_of(domain_event.originator_id), domain_event)

    def to_domain_event(self, stored_event: StoredEvent) -> Snapshot[Any]:
        stream = str(stored_event.originator_id)
        return decode_snapshot(self._type_of(stream), stream, stored_event.originator_version, stored_event.state)

    def _type_of(self, stream: str) -> AggregateType[Any]:
        aggregate_type = self._aggregate_types.of_stream(stream)
        if aggregate_type is None:
            raise UnusableSnapshot(stream, 0, "no kind of aggregate has such streams")
        return aggregate_type


def encode_snapshot(aggregate_type: AggregateType[S], snapshot: Snapshot[S]) -> VersionedStoredEvent:
    """Return the row of a snapshot.

    Raises:
        UnusableSnapshot: the state would not come back as it is. `evolve` never validates, so an old history may lead
            to a state that its class refuses or changes.
    """
    stream, version = snapshot.originator_id, snapshot.originator_version
    try:
        data = canonical_json(snapshot.state.model_dump(mode="json"))
    except (TypeError, ValueError) as error:
        raise UnusableSnapshot(stream, version, str(error)) from error
    if decode_snapshot(aggregate_type, stream, version, data).state != snapshot.state:
        raise UnusableSnapshot(stream, version, "the state does not come back as it is")
    topic = f"{aggregate_type.category}.Snapshot"
    return VersionedStoredEvent(stream, version, topic, data, aggregate_type.snapshot_version)


def decode_snapshot(aggregate_type: AggregateType[S], stream: str, version: int, data: bytes) -> Snapshot[S]:
    """Return the snapshot of a row that was written for the aggregate type's current `snapshot_version`.

    Raises:
        UnusableSnapshot: the bytes are no such state.
    """
    try:
        return Snapshot(stream, version, aggregate_type.state.model_validate_json(data))
    except ValidationError as error:
        raise UnusableSnapshot(stream, version, str(error)) from error


class SnapshotTaker:
    """Writes the snapshots that loads ask for, behind the requests that made them.

    Every load says what it had to read. So one rule covers a stream that has grown, a process that died before it
    wrote, a raised `snapshot_version` and deleted snapshots.
    """

    def __init__(self, pool: AsyncConnectionPool[Any], policy: SnapshotPolicy) -> None:
        self._pool = pool
        self._policy = policy
        self._waiting: dict[tuple[str, str], tuple[AggregateType[Any], Snapshot[Any], Tail]] = {}
        self._is_due = asyncio.Event()

    def note(self, aggregate_type: AggregateType[S], tenant: str, loaded: Versioned[S], tail: Tail) -> None:
        """Remember to write a snapshot of `loaded` if the policy wants one; neither waits nor raises.

        `tail` is what `loaded` costs to load; when there is to be a snapshot, it begins anew.
        """
        if loaded.state is None or not self._policy.is_due(aggregate_type, tail):
            return
        key = (tenant, loaded.id)
        if key not in self._waiting and len(self._waiting) >= _MOST_WAITING:
            return  # the stream's next load asks again
        self._waiting[key] = (aggregate_type, Snapshot.take(loaded), tail)
        tail.begin_anew()
        self._is_due.set()

    async def run(self) -> None:
        """Write until cancelled; what fails is logged and left to the stream's next load."""
        while True:
            await self._is_due.wait()
            self._is_due.clear()
            await self.write_waiting()

    async def write_waiting(self) -> None:
        """Write the snapshots that are waiting now."""
        while self._waiting:
            (tenant, stream), (aggregate_type, snapshot, tail) = next(iter(self._waiting.items()))
            del self._waiting[tenant, stream]
            await self._write(tenant, aggregate_type, snapshot, tail)

    async def _write(self, tenant: str, aggregate_type: AggregateType[S], snapshot: Snapshot[S], tail: Tail) -> None:
        try:
            stored = encode_snapshot(aggregate_type, snapshot)
            async with self._pool.connection() as connection:
                await connection.execute(SAVE_SNAPSHOT, snapshot_parameters(tenant, stored), prepare=True)
        except UnusableSnapshot as error:
            log.warning("snapshot.not_taken", tenant=tenant, stream=snapshot.originator_id, error=str(error))
        except psycopg.Error as error:
            FAULTS.note("snapshot.not_taken", error, tenant=tenant, stream=snapshot.originator_id)
        else:
            tail.snapshot_bytes = len(stored.state)
            log.debug("snapshot.taken", stream=snapshot.originator_id, version=snapshot.originator_version)


def snapshot_parameters(tenant: str, stored: StoredEvent) -> dict[str, str | int | bytes]:
    """Return what `SAVE_SNAPSHOT` takes."""
    return {
        "tenant": tenant,
        "stream": str(stored.originator_id),
        "version": stored.originator_version,
        "schema_version": stored.class_version if isinstance(stored, VersionedStoredEvent) else 1,
        "topic": stored.topic,
        "data": stored.state,
    }
