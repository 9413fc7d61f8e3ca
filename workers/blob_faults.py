"""The one table from the blob store's errors to their meaning; a blob that is not there is no fault of the store."""

import re
from collections.abc import Iterator
from contextlib import contextmanager

from obstore import exceptions

from eventstore.faults import DependencyError, Fault, fault_of, fault_of_os
from eventstore.sqlstates import OPERATOR, PASSING

CLASSES: dict[type[Exception], Fault] = {
    exceptions.PermissionDeniedError: Fault(OPERATOR, "permission_denied"),
    exceptions.UnauthenticatedError: Fault(OPERATOR, "access_denied"),
    exceptions.UnknownConfigurationKeyError: Fault(OPERATOR, "misconfigured"),
    exceptions.NotSupportedError: Fault(OPERATOR, "not_supported"),
    exceptions.InvalidPathError: Fault(OPERATOR, "invalid_path"),
    exceptions.NotFoundError: Fault(OPERATOR, "store_missing"),  # of a blob it is taken for `BlobNotFound` before
    exceptions.AlreadyExistsError: Fault(PASSING, "already_exists"),  # somebody put the same
    exceptions.PreconditionError: Fault(PASSING, "already_exists"),
    exceptions.NotModifiedError: Fault(PASSING, "already_exists"),
    exceptions.JoinError: Fault(PASSING, "interrupted"),
    exceptions.GenericError: Fault(PASSING, "away"),
}
"""By the binding's class. `GenericError` is all else: a folder's errors have the operating system's number."""
_NUMBER = re.compile(r"\(os error (\d+)\)")
_AWAY = Fault(PASSING, "away")
_UNUSABLE = Fault(OPERATOR, "store_missing")


class BlobStoreFault(DependencyError):
    """The blob store does not do what it is asked for."""


@contextmanager
def of_blob_store() -> Iterator[None]:
    """Raise errors of the store, its own and the operating system's, with their meaning.

    Raises:
        BlobStoreFault: it has failed.
    """
    try:
        yield
    except (exceptions.BaseError, OSError) as error:
        raise BlobStoreFault(fault_of_blob_store(error), str(error).partition("\n")[0]) from error


def fault_of_blob_store(error: Exception) -> Fault:
    """Return the meaning of an error of the blob store."""
    number = _NUMBER.search(str(error))
    if number is not None:
        return fault_of_os(int(number[1])) or _UNUSABLE  # a file where a folder is needed, a folder that is gone
    if isinstance(error, OSError):
        fault = fault_of(error)
        return fault if fault.meaning is OPERATOR else _UNUSABLE
    for known, fault in CLASSES.items():
        if type(error) is known:
            return fault
    return _AWAY
