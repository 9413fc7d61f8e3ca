"""The history of an entry or a document: its events, and its state at a version or a time."""

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any, ClassVar, Literal
from uuid import UUID

from pydantic import AwareDatetime, BaseModel, ConfigDict, JsonValue

from domain.knowledge.document import DOCUMENT, visible_document
from domain.knowledge.entry import ENTRY, visible_entry
from domain.shared.access import Actor, Permission
from domain.shared.aggregates import AggregateType
from eventstore.position import LogPosition
from eventstore.records import RecordedEvent
from eventstore.voiding import voided_versions
from queries.message import Answer, Asking, Query

_KINDS: dict[str, tuple[AggregateType[Any], Callable[[Any, UUID, Actor], object]]] = {
    "entry": (ENTRY, visible_entry),
    "document": (DOCUMENT, visible_document),
}


class HistoryItem(BaseModel):
    model_config = ConfigDict(frozen=True)

    version: int
    position: str
    event_type: str
    data: dict[str, JsonValue]
    actor: str
    recorded_at: datetime
    correlation_id: UUID
    causation_id: UUID | None


class StateAt(BaseModel):
    model_config = ConfigDict(frozen=True)

    version: int
    state: dict[str, JsonValue] | None


class GetHistory(Query):
    PERMISSION: ClassVar[Permission] = Permission.KNOWLEDGE_READ
    MODELS: ClassVar[tuple[str, ...]] = ()

    kind: Literal["entry", "document"]
    aggregate_id: UUID


class GetStateAt(Query):
    """The state after `version`, or at the time `at`; now, when neither is given."""

    PERMISSION: ClassVar[Permission] = Permission.KNOWLEDGE_READ
    MODELS: ClassVar[tuple[str, ...]] = ()

    kind: Literal["entry", "document"]
    aggregate_id: UUID
    version: int | None = None
    at: AwareDatetime | None = None


async def get_history(query: GetHistory, asking: Asking) -> Answer[Sequence[HistoryItem]]:
    events, position, epoch = await _visible_events(query.kind, query.aggregate_id, asking)
    items = [
        HistoryItem(
            version=recorded.version,
            position=str(LogPosition(epoch, recorded.position)),
            event_type=type(recorded.event).__name__,
            data=recorded.event.model_dump(mode="json"),
            actor=recorded.metadata.actor,
            recorded_at=recorded.recorded_at,
            correlation_id=recorded.metadata.correlation_id,
            causation_id=recorded.metadata.causation_id,
        )
        for recorded in events
    ]
    return Answer(items, position, epoch)


async def get_state_at(query: GetStateAt, asking: Asking) -> Answer[StateAt]:
    events, position, epoch = await _visible_events(query.kind, query.aggregate_id, asking)
    chosen = [
        recorded
        for recorded in events
        if (query.version is None or recorded.version <= query.version)
        and (query.at is None or recorded.recorded_at <= query.at)
    ]
    state = _fold(_KINDS[query.kind][0], chosen)
    value = StateAt(
        version=chosen[-1].version if chosen else 0, state=None if state is None else state.model_dump(mode="json")
    )
    return Answer(value, position, epoch)


async def _visible_events(kind: str, aggregate_id: UUID, asking: Asking) -> tuple[Sequence[RecordedEvent], int, str]:
    """Return the events of an aggregate that the actor may see now."""
    aggregate_type, require_visible = _KINDS[kind]
    reading = await asking.streams.stream(asking.actor.tenant, aggregate_type.stream(aggregate_id))
    require_visible(_fold(aggregate_type, reading.events), aggregate_id, asking.actor)
    return reading.events, reading.position, reading.epoch


def _fold(aggregate_type: AggregateType[Any], events: Sequence[RecordedEvent]) -> BaseModel | None:
    state: BaseModel | None = None
    voided = voided_versions((recorded.version, recorded.event) for recorded in events)
    for recorded in events:
        if recorded.version in voided:
            continue
        state = aggregate_type.evolve(state, recorded.event)
    return state
