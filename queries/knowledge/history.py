"""The history of an entry or a document: its events page by page, and its state at a version or a time."""

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Annotated, Any, ClassVar, Literal
from uuid import UUID

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, JsonValue, TypeAdapter

from domain.knowledge.document import DOCUMENT, visible_document
from domain.knowledge.entry import ENTRY, visible_entry
from domain.shared.access import Actor, Permission, Visibility
from domain.shared.aggregates import AggregateType
from domain.shared.events import Event
from eventstore.position import LogPosition
from eventstore.records import EventMetadata, JsonObject
from eventstore.shown import ShownEvent
from eventstore.stream_reader import BEFORE_FIRST, StreamEvents
from eventstore.turns import made_in_turns
from queries.message import Answer, Asking, Page, Query
from queries.paging import decode_cursor, encode_cursor

_SORT = "version"
_KINDS: dict[str, tuple[AggregateType[Any], Callable[[Any, UUID, Actor], object]]] = {
    "entry": (ENTRY, visible_entry),
    "document": (DOCUMENT, visible_document),
}


class HistoryItem(BaseModel):
    """One event.

    `unknown` says why this code can't read it, as after a newer release was taken back: `event_type` is its topic then,
    and `data` is as stored. Its owner and those who see everything have the data, since what else newer code would have
    decided about who sees them is not known.
    """

    model_config = ConfigDict(frozen=True)

    version: int
    position: str
    event_type: str
    data: dict[str, JsonValue]
    actor: str
    recorded_at: datetime
    correlation_id: UUID
    causation_id: UUID | None
    unknown: str | None = None


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
    stream, owner = await _visible_stream(query.kind, query.aggregate_id, asking)
    events = await stream.shown(after, query.limit)
    last = events[-1].version if events else None
    cursor = encode_cursor(_SORT, [last]) if last is not None and last < stream.last_version else None
    sees_unknown = asking.actor.sees(owner, Visibility.PRIVATE)
    items = await made_in_turns(lambda event: _item(event, stream.epoch, sees_unknown=sees_unknown), events)
    return Answer(Page(items, cursor), stream.position, stream.epoch)


async def get_state_at(query: GetStateAt, asking: Asking) -> Answer[StateAt]:
    """Return the state, None before the first event.

    Raises:
        EntryNotFound, DocumentNotFound: there is none that the actor may see now; another tenant's is none.
        UnknownEventType: newer code wrote an event that was not voided; `version` says which.
    """
    stream, _ = await _visible_stream(query.kind, query.aggregate_id, asking)
    version = stream.last_version if query.version is None else min(query.version, stream.last_version)
    if query.at is not None:
        version = min(version, await stream.version_at(query.at))
    state: BaseModel | None = None
    evolve = _KINDS[query.kind][0].evolve
    voided = await stream.voided(through=version)
    async for recorded in stream.events(through=version, but=voided):
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


async def _visible_stream(kind: str, aggregate_id: UUID, asking: Asking) -> tuple[StreamEvents, str]:
    """Return the stream and the owner of an aggregate that the actor may see as it is now, whatever it was before."""
    aggregate_type, require_visible = _KINDS[kind]
    stream = await asking.streams.stream(asking.actor.tenant, aggregate_type.stream(aggregate_id))
    state: Any = None
    for recorded in await stream.latest(*access_events(aggregate_type)):
        state = aggregate_type.evolve(state, recorded.event)
    require_visible(state, aggregate_id, asking.actor)
    return stream, state.owner


def _item(event: ShownEvent, epoch: str, *, sees_unknown: bool) -> HistoryItem:
    metadata: EventMetadata = EventMetadata.__pydantic_validator__.validate_json(event.stored_metadata)
    return HistoryItem(
        version=event.version or 0,
        position=str(LogPosition(epoch, event.position)),
        event_type=event.name,
        data=_data(event) if event.unknown is None or sees_unknown else {},
        actor=metadata.actor,
        recorded_at=event.recorded_at,
        correlation_id=metadata.correlation_id,
        causation_id=metadata.causation_id,
        unknown=event.unknown,
    )


def _data(event: ShownEvent) -> JsonObject:
    data = event.data
    return data if isinstance(data, dict) else {"stored": data}
