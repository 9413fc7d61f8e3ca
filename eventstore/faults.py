"""What a failure means for the work that met it: PostgreSQL's, or that of another service the work needs."""

import errno
import re
from collections.abc import Mapping
from dataclasses import dataclass

import psycopg
from psycopg.errors import PipelineAborted, lookup
from psycopg_pool import PoolTimeout

from eventstore.errors import QuestionTookTooLong, ReadModelHeld, StoreUnavailable
from eventstore.sqlstates import (
    AWAY,
    CANNOT_STORE,
    KINDS_OF_FAILED_CONNECTIONS,
    LOCKED,
    MAY_BE_OF_ONE,
    OF_THE_EVENT,
    OPERATOR,
    PASSING,
    WAITED,
    Meaning,
    is_refused_by_the_client,
    kind_of_failed_connection,
    meaning_of_state,
    says_lost,
)

NO_FREE_CONNECTION = "no_free_connection"


@dataclass(frozen=True, slots=True)
class Fault:
    """A failure's meaning and kind: a stable word for logs, metrics and `/health/ready`.

    Attributes:
        meaning: the way on.
        kind: the error's own name, such as `disk_full`.
        state: PostgreSQL's code; None for what has none, such as a lost connection.
    """

    meaning: Meaning
    kind: str
    state: str | None = None

    @property
    def is_lost(self) -> bool:
        """Whether the connection is lost, or there was none."""
        return self.kind == AWAY if self.state is None else says_lost(self.state)

    @property
    def has_no_connection(self) -> bool:
        """Whether the connection is lost, or none could be had, so that nothing can be written of it either."""
        return self.is_lost or (self.state is None and self.kind in _CONNECTION_KINDS)

    @property
    def has_waited(self) -> bool:
        """Whether a limit of time is over."""
        return self.state in WAITED

    @property
    def is_locked(self) -> bool:
        """Whether others held a lock for too long."""
        return self.state == LOCKED

    @property
    def is_of_storage(self) -> bool:
        """Whether nothing can be stored until an operator has mended it."""
        return self.state in CANNOT_STORE or (self.state is None and self.kind in _STORAGE_KINDS)

    @property
    def may_be_of_one(self) -> bool:
        """Whether one event alone can be the cause, though most often the server is."""
        return self.state in MAY_BE_OF_ONE


class DependencyError(Exception):
    """Another service that the work needs has failed: Redis, or the blob store. Its `fault` tells the way on."""

    def __init__(self, fault: Fault, text: str) -> None:
        super().__init__(text)
        self.fault = fault


_OPERATING_SYSTEM: Mapping[int, str] = {
    errno.ENOSPC: "disk_full",
    errno.EDQUOT: "quota_exceeded",
    errno.EFBIG: "file_too_large",
    errno.EROFS: "read_only",
    errno.EIO: "io_error",
    errno.EACCES: "permission_denied",
    errno.EPERM: "permission_denied",
    errno.EMFILE: "too_many_files",
    errno.ENFILE: "too_many_files",
    errno.ENOMEM: "out_of_memory",
}
"""The operator's to mend, by the operating system's number."""
_CONNECTION_KINDS = frozenset({NO_FREE_CONNECTION, *KINDS_OF_FAILED_CONNECTIONS})
_STORAGE_KINDS = frozenset(
    {"disk_full", "quota_exceeded", "file_too_large", "read_only", "io_error", "out_of_memory", "not_persisted"}
)


def fault_of(error: BaseException) -> Fault:
    """Return the meaning of `error`; an error of no service is of the event."""
    match error:
        case DependencyError():
            return error.fault
        case StoreUnavailable():
            return _of_what_is_unavailable(error)
        case psycopg.Error():
            return _of_postgresql(error)
        case OSError(errno=int(number)) if number in _OPERATING_SYSTEM:
            return Fault(OPERATOR, _OPERATING_SYSTEM[number])
        case _:
            return Fault(OF_THE_EVENT, snake(type(error).__name__))


def fault_of_os(number: int) -> Fault | None:
    """Return the meaning of an error number of the operating system, if it is an operator's to mend."""
    kind = _OPERATING_SYSTEM.get(number)
    return None if kind is None else Fault(OPERATOR, kind)


def meaning_of(error: BaseException) -> Meaning:
    """Return the way on after `error`."""
    return fault_of(error).meaning


def snake(name: str) -> str:
    """Return a class's name as a kind: ``DiskFull`` is ``disk_full``."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name.rstrip("_")).lower()


def raise_unavailable(error: psycopg.Error) -> None:
    """Raise an error of the store in place of PostgreSQL's, but where the statement or its data is wrong.

    Raises:
        ReadModelHeld, QuestionTookTooLong: a limit of time is over; the statement must not be sent again at once.
        StoreUnavailable: the database can't be reached, or an operator has to mend it.
    """
    fault = fault_of(error)
    if fault.is_locked:
        raise ReadModelHeld(str(error)) from error
    if fault.has_waited:
        raise QuestionTookTooLong(str(error)) from error
    if fault.meaning is not OF_THE_EVENT:
        raise StoreUnavailable(f"{fault.kind}: {error}") from error


def _of_what_is_unavailable(error: StoreUnavailable) -> Fault:
    """Its cause tells more, if it has one."""
    if type(error) is StoreUnavailable and isinstance(error.__cause__, psycopg.Error):
        fault = _of_postgresql(error.__cause__)
        if fault.meaning is not OF_THE_EVENT:
            return fault
    return Fault(PASSING, snake(type(error).__name__))


def _of_postgresql(error: psycopg.Error) -> Fault:
    if isinstance(error, PoolTimeout):
        return _of_no_connection(error)
    if error.sqlstate is not None:
        meaning = meaning_of_state(error.sqlstate)
        return Fault(meaning, AWAY if says_lost(error.sqlstate) else _name(error.sqlstate), error.sqlstate)
    is_of_connection = isinstance(error, psycopg.OperationalError | psycopg.InterfaceError)
    if is_of_connection and not (isinstance(error, PipelineAborted) or is_refused_by_the_client(str(error))):
        return _of_connection(str(error))
    # The client's own refusal, of a value that it can't send, say; or of what follows an error in a pipeline.
    return Fault(OF_THE_EVENT, snake(type(error).__name__))


def _of_connection(text: str) -> Fault:
    kind = kind_of_failed_connection(text)
    return Fault(PASSING if kind == AWAY else OPERATOR, kind)


def _of_no_connection(error: PoolTimeout) -> Fault:
    """The pool's error says how long it waited; its cause is the last attempt to connect, if that failed."""
    if isinstance(error.__cause__, psycopg.Error):
        return _of_postgresql(error.__cause__)
    return Fault(PASSING, NO_FREE_CONNECTION)


def _name(state: str) -> str:
    try:
        return snake(lookup(state).__name__)
    except KeyError:
        return f"sqlstate_{state.lower()}"
