"""The rows of the log as Python sees them: before the append, after it, and the one who asked for it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal, NamedTuple
from uuid import UUID

from pydantic import BaseModel, ConfigDict, JsonValue

from domain.shared.events import Event

JsonObject = dict[str, JsonValue]


class EventMetadata(BaseModel):
    """What surrounds an event: who caused it, by which command, in which trace.

    `correlation_id` is the same for everything that one request led to; `causation_id` is the command or event that
    came right before; `traceparent` is the W3C trace context of the append.
    """

    model_config = ConfigDict(frozen=True)

    actor: str
    command_type: str
    correlation_id: UUID
    causation_id: UUID | None = None
    traceparent: str | None = None


@dataclass(frozen=True, slots=True)
class StreamEvent:
    """An event at its place in a stream; satisfies the `eventsourcing` library's domain event protocol."""

    originator_id: str
    originator_version: int
    event: Event
    tags: tuple[str, ...] = ()


class RecordedEvent(NamedTuple):
    """An event as the log holds it."""

    tenant: str
    position: int
    stream: str
    version: int
    event: Event
    stored_metadata: bytes
    recorded_at: datetime

    @property
    def metadata(self) -> EventMetadata:
        """Who caused the event; decoded each time when it is asked for, since few readers do.

        Raises:
            ValidationError: what is stored is no metadata.
        """
        metadata: EventMetadata = EventMetadata.__pydantic_validator__.validate_json(self.stored_metadata)
        return metadata


@dataclass(frozen=True, slots=True)
class IdempotencyKey:
    """A client's key in the scope of an actor, and the hash of what it was sent with."""

    actor: str
    key: str
    fingerprint: bytes
    seconds: int


@dataclass(frozen=True, slots=True)
class CommandRecord:
    """The audit row of a command: `data` is redacted, `outcome` is what a repeated key is answered with."""

    command_id: UUID
    command_type: str
    aggregate_id: str | None
    data: JsonObject
    metadata: JsonObject
    user: str
    status: Literal["accepted", "refused", "failed"]
    outcome: JsonObject
    error: JsonObject | None = None
    key: IdempotencyKey | None = None
    is_remembered: bool = True


@dataclass(frozen=True, slots=True)
class Claims:
    """Unique keys, each within the tenant: `taken` maps a claim to the stream that holds it from now on."""

    taken: dict[str, str] = field(default_factory=dict)
    released: tuple[str, ...] = ()


NO_CLAIMS = Claims()


class Counter(NamedTuple):
    """Adds to a counter of the tenant, such as a quota; refused where it would then be above `limit`, or below 0."""

    name: str
    add: int
    limit: int


class BoundaryItem(NamedTuple):
    """Matches events of one of `topics` (any, when empty) that have all of `tags`."""

    topics: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()


class Boundary(NamedTuple):
    """A dynamic consistency boundary: no event of the tenant after the position `after` matches any of `items`.

    The idea is Sara Pellegrini's and Milan Savić's, https://dcb.events. `after` is the head of the log at the time when
    the events of the decision were read.
    """

    items: tuple[BoundaryItem, ...]
    after: int = 0


@dataclass(frozen=True, slots=True)
class Tracked:
    """The position of an upstream log that an append has dealt with; refused when it is not higher than before."""

    application_name: str
    position: int


@dataclass(frozen=True, slots=True)
class Append:
    """What one command writes, all or nothing; a command that was refused appends no events.

    `expected` holds the versions of streams that the decision has read and does not write. A bulk append, one of an
    import, waits behind interactive ones.
    """

    tenant: str
    command: CommandRecord
    events: tuple[StreamEvent, ...]
    event_metadata: EventMetadata
    claims: Claims = NO_CLAIMS
    counters: tuple[Counter, ...] = ()
    boundary: Boundary | None = None
    expected: Mapping[str, int] = field(default_factory=dict)
    is_bulk: bool = False


class Appended(NamedTuple):
    """The outcome of an append.

    `position` is the last event's, or the log's head when there was none. `is_repeated` says that the same command or
    idempotency key was stored before: `command_id`, `status`, `outcome` and `error` are then the first one's.
    """

    position: int
    epoch: str
    recorded_at: datetime
    command_id: UUID
    status: str
    outcome: JsonObject
    error: JsonObject | None
    is_repeated: bool
