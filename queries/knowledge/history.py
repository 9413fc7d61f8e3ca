"""The history of an entry or a document: its events page by page, and its state at a version or a time."""

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Annotated, Any, ClassVar, Literal
from uuid import UUID

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, JsonValue, TypeAdapter

from domain.knowledge.document import DOCUMENT, visible_document
from domain.knowledge.entry import ENTRY, visible_entry
from domain.shared.access import Actor, Permission
from domain.shared.aggregates import AggregateType
from domain.shared.events import Event
from eventstore.position import LogPosition
from eventstore.records import RecordedEvent
from eventstore.stream_reader import BEFORE_FIRST, StreamEvents
from queries.message import Answer, Asking, Page, Query
from queries.paging import decode_cursor, encode_cursor

_SORT = "version"
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
    """A page has `limit` events, or fewer when they are long."""

    PERMISSION: ClassVar[Permission] = Permission.KNOWLEDGE_READ
    MODELS: ClassVar[tuple[str, ...]] = ()

    kind: Literal["entry", "document"]
    aggregate_id: UUID
    limit: Annotated[int, Field(ge=1, le=200)] = 50
    cursor: str | None = None


class GetStateAt(Query):
    """The state after `version`, or at the time `at`; now, when neither is given."""

    PERMISSION: ClassVar[Permission] = Permission.KNOWLEDGE_READ
    MODELS: ClassVar[tuple[str, ...]] = ()

    kind: Literal["entry", "document"]
    aggregate_id: UUID
    version: int | None = None
    at: AwareDatetime | None = None


async def get_history(query: GetHistory, asking: Asking) -> Answer[Page[HistoryItem]]:
    """Return a page of events, oldest first.

    Raises:
        EntryNotFound, DocumentNotFound: there is none that the actor may see now; another tenant's is none.
        InvalidCursor: the cursor is not of this list.
    """
    after = BEFORE_FIRST
    if query.cursor is not None:
        (after,) = decode_cursor(query.cursor, _SORT, [TypeAdapter(int)])
    stream = await _visible_stream(query.kind, query.aggregate_id, asking)
    events = await stream.window(after, query.limit)
    has_more = bool(events) and events[-1].version < stream.last_version
    cursor = encode_cursor(_SORT, [events[-1].version]) if has_more else None
    return Answer(Page([_item(recorded, stream.epoch) for recorded in events], cursor), stream.position, stream.epoch)


async def get_state_at(query: GetStateAt, asking: Asking) -> Answer[StateAt]:
    """Return the state, None before the first event.

    Raises:
        EntryNotFound, DocumentNotFound: there is none that the actor may see now; another tenant's is none.
    """
    stream = await _visible_stream(query.kind, query.aggregate_id, asking)
    version = stream.last_version if query.version is None else min(query.version, stream.last_version)
    if query.at is not None:
        version = min(version, await stream.version_at(query.at))
    state: BaseModel | None = None
    evolve = _KINDS[query.kind][0].evolve
    voided = await stream.voided(through=version)
    async for recorded in stream.events(through=version):
        if recorded.version not in voided:
            state = evolve(state, recorded.event)
    value = StateAt(version=max(version, 0), state=None if state is None else state.model_dump(mode="json"))
    return Answer(value, stream.position, stream.epoch)


def access_events(aggregate_type: AggregateType[Any]) -> Sequence[Sequence[type[Event]]]:
    """Return the events that name an owner, and those that name a visibility.

    The last of each say who sees the aggregate now: a long history need not be folded for each of its pages.
    """
    return [
        [event_class for event_class in aggregate_type.events if field in event_class.model_fields]
        for field in ("owner", "visibility")
    ]


async def _visible_stream(kind: str, aggregate_id: UUID, asking: Asking) -> StreamEvents:
    """Return the stream of an aggregate that the actor may see as it is now, whatever it was before."""
    aggregate_type, require_visible = _KINDS[kind]
    stream = await asking.streams.stream(asking.actor.tenant, aggregate_type.stream(aggregate_id))
    state: BaseModel | None = None
    for recorded in await stream.latest(*access_events(aggregate_type)):
        state = aggregate_type.evolve(state, recorded.event)
    require_visible(state, aggregate_id, asking.actor)
    return stream


def _item(recorded: RecordedEvent, epoch: str) -> HistoryItem:
    return HistoryItem(
        version=recorded.version,
        position=str(LogPosition(epoch, recorded.position)),
        event_type=type(recorded.event).__name__,
        data=recorded.event.model_dump(mode="json"),
        actor=recorded.metadata.actor,
        recorded_at=recorded.recorded_at,
        correlation_id=recorded.metadata.correlation_id,
        causation_id=recorded.metadata.causation_id,
    )
