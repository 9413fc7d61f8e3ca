"""What queries refuse."""

from dataclasses import dataclass
from uuid import UUID

from domain.shared.errors import DomainError
from eventstore.position import LogPosition


@dataclass(eq=False)
class PositionNotReached(DomainError):
    """The read model has not reached X-Min-Position within the time limit; ask again, or without it."""

    model: str
    wanted: LogPosition
    reached: LogPosition


@dataclass(eq=False)
class PositionInTheFuture(DomainError):
    """X-Min-Position lies beyond the end of the log; use a position that a command answered."""

    wanted: LogPosition
    head: LogPosition


@dataclass(eq=False)
class AsOfNotFound(DomainError):
    """What this reads was not built as of then, or not to the end yet, or was dropped."""

    as_of: UUID


@dataclass(eq=False)
class CommandNotFound(DomainError):
    """There is no command with this id that you may see."""

    command_id: UUID


@dataclass(eq=False)
class RequestNotFound(DomainError):
    """No operator of your tenant has sent a request with this id."""

    request_id: UUID


@dataclass(eq=False)
class InvalidCursor(DomainError):
    """The cursor is not one that this list has given out for this sort order; start without it."""

    cursor: str
