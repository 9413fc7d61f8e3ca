"""What a command is, what it is sent with, what its handler decides, and what it is answered with."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import ClassVar, Generic, Protocol, TypeVar
from uuid import UUID

from pydantic import BaseModel, ConfigDict

from domain.shared.access import Actor, Permission
from domain.shared.aggregates import AggregateType
from domain.shared.errors import DomainError
from domain.shared.events import Event
from eventstore.load import Loaded
from eventstore.position import LogPosition
from eventstore.records import Boundary, Claims, JsonObject

S = TypeVar("S", bound=BaseModel)
C_contra = TypeVar("C_contra", bound="Command", contravariant=True)


class Command(BaseModel):
    """Something that somebody wants to happen."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    PERMISSION: ClassVar[Permission]

    @classmethod
    def name(cls) -> str:
        return cls.__name__

    def aggregate_id(self) -> str | None:
        """Return the id of the aggregate that the command is about, None when it makes a new one."""
        return None


@dataclass(frozen=True, slots=True)
class RequestKey:
    """A client's idempotency key and the hash of everything that a repetition must send again."""

    key: str
    fingerprint: bytes


@dataclass(frozen=True, slots=True)
class CommandRequest:
    """What a command is sent with.

    `expected_version` is what `If-Match` said: the version that the sender had seen.
    """

    actor: Actor
    command_id: UUID
    correlation_id: UUID
    causation_id: UUID | None = None
    key: RequestKey | None = None
    expected_version: int | None = None


@dataclass(frozen=True, slots=True)
class CommandAnswer:
    """The events are durable. `position` is the consistency token to read them back with."""

    command_id: UUID
    aggregate_id: UUID | None
    version: int
    position: LogPosition
    result: JsonObject
    is_repeated: bool


@dataclass(frozen=True, slots=True)
class StreamDecision:
    """New events for one stream, decided at its version `version`; `tags` are what boundaries find them by."""

    stream: str
    version: int
    events: Sequence[Event]
    tags: tuple[str, ...] = ()


def _unexpected(stream: str) -> DomainError:
    raise AssertionError(f"{stream} holds a claim that the handler has no refusal for")


@dataclass(frozen=True, slots=True)
class Decision:
    """What a handler decided; the first stream is the one that the answer and `If-Match` speak of."""

    aggregate_id: UUID | None
    streams: Sequence[StreamDecision]
    claims: Claims = field(default_factory=Claims)
    result: JsonObject = field(default_factory=dict)
    refuse_claim: Callable[[str], DomainError] = _unexpected
    """Names the refusal when a claim is held by the stream given."""
    boundary: Boundary | None = None
    """What must not have come to the log since the decision was made; where it has, it is decided anew."""

    @property
    def version(self) -> int:
        """The version after this decision of the stream that the answer speaks of."""
        return self.streams[0].version + len(self.streams[0].events)


class Handling(Protocol):
    """What a handler may use: it loads and decides; it neither writes nor sends."""

    @property
    def actor(self) -> Actor: ...

    @property
    def now(self) -> datetime: ...

    def new_id(self) -> UUID: ...

    async def load(self, aggregate_type: AggregateType[S], aggregate_id: UUID) -> Loaded[S]: ...


class Handler(Protocol, Generic[C_contra]):
    """One use case: load, ask the domain, return what it decided."""

    async def __call__(self, command: C_contra, handling: Handling, /) -> Decision: ...


Execute = Callable[[Command, CommandRequest], Awaitable[CommandAnswer]]


def change(loaded: Loaded[S], events: Sequence[Event]) -> StreamDecision:
    """Return `events` as a decision about what was loaded."""
    return StreamDecision(loaded.stream, loaded.version, events)
