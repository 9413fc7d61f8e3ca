"""The connections of the library's recorders: an appender and a pool, both for threads."""

import weakref
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import psycopg
from eventsourcing import persistence as library
from psycopg_pool import ConnectionPool

from eventstore.appender_thread import AppenderThread
from eventstore.boundary import KnownHead, brought_forward
from eventstore.errors import EventStoreError, InvalidAppend, StoreUnavailable
from eventstore.matching import MATCHING_OPTIONS, MatchedWindow, Search, search
from eventstore.prepare import PreparedAppend
from eventstore.records import Appended
from eventstore.sessions import SESSION_OPTIONS

_CONNECTIONS = 8


class Datastore:
    """The writer role's connections for threads; opened when first used, safe to share, closed when it is dropped."""

    def __init__(self, database_url: str) -> None:
        self._database_url = database_url
        self._appender = AppenderThread(database_url)
        self._known_head = KnownHead()
        self._pool: ConnectionPool[psycopg.Connection[Any]] = ConnectionPool(
            database_url,
            min_size=1,
            max_size=_CONNECTIONS,
            timeout=10.0,
            kwargs={"autocommit": True, "options": f"{SESSION_OPTIONS} {MATCHING_OPTIONS}"},
            # Threads rarely come here, so a connection may have died since; better to ask than an unknown outcome.
            check=ConnectionPool.check_connection,
            open=False,
            name="varve_writer_of_library",
        )
        # The library's projection runner makes a factory that it never closes.
        weakref.finalize(self, _close, self._appender, self._pool)

    @contextmanager
    def connection(self) -> Iterator[psycopg.Connection[Any]]:
        """Lend a connection in autocommit mode; psycopg's errors become the library's."""
        with library_errors():
            self._pool.open()
            with self._pool.connection() as connection:
                yield connection

    def search(self, asked: Search) -> MatchedWindow:
        with self.connection() as connection:
            return search(connection, asked)

    def append(self, prepared: PreparedAppend) -> Appended:
        """Append through the datastore's own appender; its errors become the library's."""
        boundary = prepared.conditions.boundary
        if boundary is not None and not self._known_head.is_near(boundary.after):
            with self.connection() as connection:
                prepared = brought_forward(connection, prepared, boundary)
        with library_errors():
            appended = self._appender.append(prepared)
        self._known_head.note(appended.position)
        return appended

    def connect(self) -> psycopg.Connection[Any]:
        """Return a connection beside the pool, for listening; its errors are psycopg's own."""
        return psycopg.connect(self._database_url, autocommit=True)

    def close(self) -> None:
        _close(self._appender, self._pool)


def _close(appender: AppenderThread, pool: ConnectionPool[Any]) -> None:
    with ExitStack() as stack:
        stack.callback(pool.close)
        stack.callback(appender.close)


_ERRORS: tuple[tuple[type[Exception], type[library.PersistenceError]], ...] = (
    (psycopg.InterfaceError, library.InterfaceError),
    (psycopg.OperationalError, library.OperationalError),
    (psycopg.DataError, library.DataError),
    (psycopg.IntegrityError, library.IntegrityError),
    (psycopg.InternalError, library.InternalError),
    (psycopg.ProgrammingError, library.ProgrammingError),
    (psycopg.NotSupportedError, library.NotSupportedError),
    (psycopg.DatabaseError, library.DatabaseError),
    (psycopg.Error, library.PersistenceError),
    (StoreUnavailable, library.OperationalError),
    (InvalidAppend, library.DataError),
    (EventStoreError, library.IntegrityError),
)


@contextmanager
def library_errors() -> Iterator[None]:
    """Let psycopg's errors and the store's come out as the library's."""
    try:
        yield
    except psycopg.Error as error:
        raise _translated(error)(str(error)) from error
    except EventStoreError as error:
        raise _translated(error)(f"{type(error).__name__}: {error}") from error


def _translated(error: Exception) -> type[library.PersistenceError]:
    return next(ours for theirs, ours in _ERRORS if isinstance(error, theirs))
