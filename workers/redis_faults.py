"""The one table from Redis's errors to their meaning. Work goes on without Redis, only slower."""

import re
from collections.abc import Mapping

from redis import exceptions

from eventstore.faults import DependencyError, Fault
from eventstore.sqlstates import OF_THE_EVENT, OPERATOR, PASSING, Meaning

CODES: Mapping[str, tuple[Meaning, str]] = {
    "OOM": (OPERATOR, "out_of_memory"),
    "READONLY": (OPERATOR, "read_only"),
    "MISCONF": (OPERATOR, "not_persisted"),  # it can't write to its disk, and refuses writes until it can
    "NOAUTH": (OPERATOR, "access_denied"),
    "WRONGPASS": (OPERATOR, "access_denied"),
    "NOPERM": (OPERATOR, "access_denied"),
    "DENIED": (OPERATOR, "access_denied"),  # protected mode
    "ERR MAX": (OPERATOR, "too_many_connections"),  # "ERR max number of clients reached"
    "NOREPLICAS": (OPERATOR, "too_few_replicas"),
    "LOADING": (PASSING, "loading"),
    "BUSY": (PASSING, "busy"),
    "MASTERDOWN": (PASSING, "primary_away"),
    "CLUSTERDOWN": (PASSING, "primary_away"),
    "TRYAGAIN": (PASSING, "busy"),
    "MOVED": (PASSING, "moved"),
    "ASK": (PASSING, "moved"),
    "UNBLOCKED": (PASSING, "moved"),
    "NOSCRIPT": (PASSING, "no_script"),
    "EXECABORT": (PASSING, "aborted"),
    "WRONGTYPE": (OF_THE_EVENT, "wrong_type"),
    "ERR": (OF_THE_EVENT, "refused"),
}
"""By the first word of what Redis says."""
# The client takes the first word off the errors that it has classes for.
_CLASSES: tuple[tuple[type[Exception], str], ...] = (
    (exceptions.OutOfMemoryError, "OOM"),
    (exceptions.ReadOnlyError, "READONLY"),
    (exceptions.NoPermissionError, "NOPERM"),
    (exceptions.AuthenticationError, "NOAUTH"),
    (exceptions.BusyLoadingError, "LOADING"),
    (exceptions.ExecAbortError, "EXECABORT"),
    (exceptions.NoScriptError, "NOSCRIPT"),
)
_WITHIN_A_SCRIPT = re.compile(r"(?<![\w-])-([A-Z]{3,})\b")
"""What a command of a script was refused with, in the text of what its caller is."""
_CODE = re.compile(r"(?:Command # .* caused error: )?([A-Z]{3,})\b")


class RedisFault(DependencyError):
    """Redis does not do what it is asked for."""


def dependency_error(error: BaseException) -> RedisFault:
    """Return the meaning of an error of Redis, or of what speaks to it, as an error."""
    return RedisFault(fault_of_redis(error), str(error) or type(error).__name__)


def fault_of_redis(error: BaseException) -> Fault:
    """Return the meaning of an error of Redis, or of what speaks to it; a lost connection passes."""
    while error.__cause__ is not None and not isinstance(error, exceptions.RedisError):
        error = error.__cause__  # the broker's own error hides Redis's
    code = _code_of(error)
    if code is None:
        return Fault(PASSING, "connection_lost")
    meaning, kind = CODES[code]
    return Fault(meaning, kind)


def _code_of(error: BaseException) -> str | None:
    text = str(error)
    if "max number of clients" in text:
        return "ERR MAX"
    if "MISCONF" in text:
        return "MISCONF"
    if isinstance(error, exceptions.ConnectionError) and "WRONGPASS" in text:
        return "WRONGPASS"
    for known, code in _CLASSES:
        if isinstance(error, known):
            return code
    if not isinstance(error, exceptions.ResponseError):
        return None
    found = _WITHIN_A_SCRIPT.search(text) or _CODE.match(text)
    return found[1] if found and found[1] in CODES else "ERR"
