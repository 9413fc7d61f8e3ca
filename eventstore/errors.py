"""What the event store refuses or can't do."""

from dataclasses import dataclass, field


class EventStoreError(Exception):
    """The base of the store's errors."""


@dataclass(eq=False)
class StreamConflict(EventStoreError):
    """Another append was faster: the stream is not at the version that the decision was made for."""

    stream: str
    expected: int
    actual: int


@dataclass(eq=False)
class ClaimTaken(EventStoreError):
    """Another stream holds a claim that the append wants to take."""

    claim: str
    stream: str


@dataclass(eq=False)
class CounterLimited(EventStoreError):
    """The append would raise a counter above its limit, or lower it below zero."""

    counter: str
    value: int
    limit: int


@dataclass(eq=False)
class BoundaryCrossed(EventStoreError):
    """An event that the decision had to know was appended after it had read; `position` is that event's."""

    position: int


@dataclass(eq=False)
class AlreadyTracked(EventStoreError):
    """The position of the upstream log was dealt with before."""

    application: str
    position: int


@dataclass(eq=False)
class InvalidAppend(EventStoreError):
    """The append holds what the database can't store."""

    reason: str


@dataclass(eq=False)
class KeyReused(EventStoreError):
    """The idempotency key was used before, for another request."""

    key: str


@dataclass(eq=False)
class StoreUnavailable(EventStoreError):
    """The database can't be reached; after an append its outcome is unknown until the same command is sent again."""

    cause: str


@dataclass(eq=False)
class AppenderBusy(StoreUnavailable):
    """Too many appends are waiting; nothing of this one was stored."""

    retry_after_seconds: int = 1


@dataclass(eq=False)
class StorageRefused(StoreUnavailable):
    """The database can't store anything until an operator has mended it; nothing of the append was stored."""

    retry_after_seconds: int = 10


@dataclass(eq=False)
class ReadModelHeld(StoreUnavailable):
    """Others hold the read model for longer than a question waits: ask again in a while."""

    retry_after_seconds: int = 1


@dataclass(eq=False)
class QuestionTookTooLong(StoreUnavailable):
    """The question took longer than one may: ask for less, or again in a while."""

    retry_after_seconds: int = 5


@dataclass(eq=False)
class ReadersBusy(StoreUnavailable):
    """Too many questions of the tenant, or about the read model, are being answered: ask again in a while."""

    retry_after_seconds: int = 1


@dataclass(eq=False)
class HistoryChanged(EventStoreError):
    """The log's server was replaced or restored while the append waited: what it was decided on may be gone."""


@dataclass(eq=False)
class UnknownEventType(EventStoreError):
    """The stored event has a type, or a version of it, that this code doesn't know; newer code wrote it.

    `version` is its place in its stream, where one is read.
    """

    topic: str
    class_version: int
    version: int | None = field(default=None, init=False)

    def __str__(self) -> str:
        return f"this code knows no event type {self.topic}, which newer code has stored"


@dataclass(eq=False)
class UnknownEventVersion(UnknownEventType):
    """The stored event has a type that this code knows, and a version that it doesn't; newer code wrote it."""

    newest_known: int

    def __str__(self) -> str:
        known = f"this code knows {self.topic} up to version {self.newest_known}"
        return f"{known}, and the stored event has version {self.class_version}"


@dataclass(eq=False)
class InvalidPosition(EventStoreError):
    """The text is no position token of this log."""

    token: str

    def __str__(self) -> str:
        return f"{self.token!r} is no position of this log: positions are shown by varve events tail"


@dataclass(eq=False)
class ForeignEpoch(EventStoreError):
    """The position belongs to a history of the log that no longer exists.

    `fork_position` is the token of the last position that this history and the present one share.
    """

    token: str
    fork_position: str

    def __str__(self) -> str:
        shared = f"the last position that both have is {self.fork_position}"
        return f"the position {self.token} belongs to a history of the log that no longer exists; {shared}"
