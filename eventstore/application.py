"""The `eventsourcing` library's application over our log: owns mapper, topics, snapshot policy and projectors."""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import ClassVar, Generic, TypeVar

import structlog
from eventsourcing.application import AggregateNotFoundError, Application, Repository
from eventsourcing.domain import DomainEventProtocol, EventSourcingError
from eventsourcing.persistence import EventStore, Recording
from eventsourcing.utils import Environment, EnvType
from pydantic import BaseModel

from domain.shared.aggregates import AggregateType
from domain.shared.events import Event, register_events
from eventstore.errors import EventStoreError, UnknownEventType
from eventstore.load import fold, stream_events
from eventstore.mapper import EventTypes, PydanticMapper
from eventstore.persistence import SnapshotRecorder, VarveFactory
from eventstore.records import StreamEvent
from eventstore.snapshots import (
    AggregateTypes,
    Snapshot,
    SnapshotMapper,
    SnapshotPolicy,
    UnusableSnapshot,
    Versioned,
)
from eventstore.voiding import EventVoided, voided_versions, without_voided

log = structlog.get_logger()

S = TypeVar("S", bound=BaseModel)


class VarveApplication(Application[str]):
    """One for each process: the async repository and appender take mapper and policy from it.

    Saves and loads act for the tenant of `eventstore.persistence.acting_for`. It connects when it first saves or loads.
    """

    name = "varve"
    env: ClassVar[dict[str, str]] = {"PERSISTENCE_MODULE": "eventstore.persistence"}
    is_snapshotting_enabled = True
    snapshot_class = Snapshot
    mapper: PydanticMapper

    def __init__(
        self,
        event_types: EventTypes,
        aggregate_types: AggregateTypes,
        *,
        snapshot_policy: SnapshotPolicy | None = None,
        env: EnvType | None = None,
    ) -> None:
        self.event_types = event_types
        self.aggregate_types = aggregate_types
        self.snapshot_policy = snapshot_policy or SnapshotPolicy()
        register_events(*event_types)
        super().__init__(env)

    def projector(self, aggregate_type: AggregateType[S]) -> "Projector[S]":
        """Return what `repository.get(stream, projector_func=…)` and `take_snapshot` want."""
        return Projector(aggregate_type)

    def aggregate(
        self, aggregate_type: AggregateType[S], stream: str, version: int | None = None
    ) -> Versioned[S] | None:
        """Return the aggregate at `version`, or as it is now; None when it has no events by then.

        Raises:
            UnknownEventType: newer code wrote an event that was not voided; `version` says which.
        """
        try:
            return self.repository.get(stream, version=version, projector_func=self.projector(aggregate_type))
        except AggregateNotFoundError:
            return None

    def construct_env(self, name: str, env: EnvType | None = None) -> Environment:
        """Return the environment; whatever the process's own says, what is saved here is Varve's."""
        found = super().construct_env(name, env)
        found[VarveFactory.EVENTS_ARE_OURS] = "y"
        return found

    def construct_mapper(self) -> PydanticMapper:
        return PydanticMapper(self.event_types)

    def construct_event_store(self) -> EventStore[str]:
        return LoggedEvents(self.mapper, self.recorder)

    def construct_snapshot_store(self) -> "SnapshotStore":
        recorder = self.factory.aggregate_recorder(purpose="snapshots")
        if not isinstance(recorder, SnapshotRecorder):
            raise TypeError(f"expected the recorder of eventstore.persistence, not {type(recorder).__name__}")
        return SnapshotStore(self.aggregate_types, recorder)

    def construct_repository(self) -> Repository[str]:
        """Return a repository that never caches: the library's cache doesn't know tenants."""
        return Repository(self.events, snapshot_store=self.snapshots)

    def _notify(self, recordings: list[Recording[str]]) -> None:
        """Take the snapshots that are due; one that fails costs time at the next load and nothing else."""
        super()._notify(recordings)
        for recording in recordings:
            stream, version = recording.domain_event.originator_id, recording.domain_event.originator_version
            aggregate_type = self.aggregate_types.of_stream(stream)
            if self.snapshots is None or aggregate_type is None:
                continue
            if version % self.snapshot_policy.interval(aggregate_type):
                continue
            try:
                self.take_snapshot(stream, version, self.projector(aggregate_type))
            except (EventSourcingError, EventStoreError) as error:
                log.warning("snapshot.not_taken", stream=stream, error=str(error))


class Projector(Generic[S]):
    """Folds stored events, and the snapshot before them, into an aggregate."""

    def __init__(self, aggregate_type: AggregateType[S]) -> None:
        self._aggregate_type = aggregate_type

    def __call__(
        self, aggregate: Versioned[S] | None, domain_events: Iterable[StreamEvent | Snapshot[S]]
    ) -> Versioned[S] | None:
        events = list(domain_events)
        for event in without_voided(events):
            match event:
                case Snapshot():
                    aggregate = Versioned(event.originator_id, event.originator_version, event.state)
                case StreamEvent():
                    state = fold(self._aggregate_type, aggregate.state if aggregate else None, [event])
                    aggregate = Versioned(event.originator_id, event.originator_version, state)
        if events and aggregate is not None:  # the last event may be left out, and its version counts all the same
            aggregate = replace(aggregate, version=events[-1].originator_version)
        return aggregate


class LoggedEvents(EventStore[str]):
    """The library's store of events, where one that was voided may be unknown: nobody folds it."""

    def get(
        self,
        originator_id: str,
        *,
        gt: int | None = None,
        lte: int | None = None,
        desc: bool = False,
        limit: int | None = None,
    ) -> Iterator[DomainEventProtocol[str]]:
        stored = self.recorder.select_events(originator_id, gt=gt, lte=lte, desc=desc, limit=limit)
        voiding = [self.mapper.to_domain_event(each) for each in stored if each.topic == EventVoided.TOPIC]
        voided = voided_versions(
            (each.originator_version, each.event) for each in voiding if isinstance(each, StreamEvent)
        )
        for each in stored:
            try:
                yield self.mapper.to_domain_event(each)
            except UnknownEventType as error:
                error.version = each.originator_version
                if each.originator_version not in voided:
                    raise


class SnapshotStore(EventStore[str]):
    """The library's store of snapshots, where one that can't be used is as good as none."""

    def __init__(self, aggregate_types: AggregateTypes, recorder: SnapshotRecorder) -> None:
        super().__init__(SnapshotMapper(aggregate_types), recorder)
        self._aggregate_types = aggregate_types
        self._snapshots = recorder

    def get(
        self,
        originator_id: str,
        *,
        gt: int | None = None,
        lte: int | None = None,
        desc: bool = False,
        limit: int | None = None,
    ) -> Iterator[DomainEventProtocol[str]]:
        aggregate_type = self._aggregate_types.of_stream(originator_id)
        if aggregate_type is None:
            return
        for stored in self._snapshots.select_events(
            originator_id, gt=gt, lte=lte, desc=desc, limit=limit, schema_version=aggregate_type.snapshot_version
        ):
            try:
                yield self.mapper.to_domain_event(stored)
            except UnusableSnapshot as error:
                log.warning("snapshot.ignored", stream=originator_id, error=str(error))


def with_events(aggregate_type: AggregateType[S], aggregate: Versioned[S], events: Iterable[Event]) -> Versioned[S]:
    """Return `aggregate` after `events`, which are pending until `Application.save` stores them."""
    new = stream_events(aggregate.id, aggregate.version, events)
    return Versioned(
        aggregate.id,
        aggregate.version + len(new),
        fold(aggregate_type, aggregate.state, new),
        (*aggregate.pending, *new),
    )
