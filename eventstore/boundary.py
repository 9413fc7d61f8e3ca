"""Checks a boundary up to the log's head before the lock, so that under it only newer events are looked at."""

import time
from collections.abc import AsyncIterator, Generator
from contextlib import asynccontextmanager
from typing import Any

import psycopg
from psycopg_pool import AsyncConnectionPool

from eventstore.faults import raise_unavailable
from eventstore.matching import MATCHING_OPTIONS, MatchedWindow, Search, matches, search, search_async
from eventstore.prepare import PreparedAppend
from eventstore.records import Boundary
from eventstore.sessions import SESSION_OPTIONS

_CHECKED_UNDER_LOCK = 1_000
"""So many positions are left to the check under the lock, some microseconds each at the worst."""
_RECENT_SECONDS = 1.0
_CANDIDATES = 10_000
_CONNECTIONS = 2
_WAIT_SECONDS = 5.0

Check = Generator[Search, MatchedWindow, PreparedAppend]


class KnownHead:
    """What this process knows of the log's head from its own appends; safe to share between threads."""

    def __init__(self) -> None:
        self._known: tuple[float, int] | None = None

    def note(self, position: int) -> None:
        self._known = (time.monotonic(), position)

    def is_near(self, position: int) -> bool:
        """Whether so little has come after `position` that it can be checked under the lock."""
        known = self._known  # read once: another thread may note meanwhile
        if known is None or time.monotonic() - known[0] > _RECENT_SECONDS:
            return False
        return known[1] - position <= _CHECKED_UNDER_LOCK


class BoundaryCheck:
    """Brings the boundaries of appends forward, for all tasks of one event loop."""

    def __init__(self, pool: AsyncConnectionPool[Any]) -> None:
        self._pool = pool
        self._known_head = KnownHead()

    def note(self, position: int) -> None:
        """Learn from an append how far the log is."""
        self._known_head.note(position)

    async def brought_forward(self, prepared: PreparedAppend) -> PreparedAppend:
        """Return `prepared` with a boundary that begins near the head.

        Raises:
            StoreUnavailable: the database can't be reached; nothing was sent.
        """
        boundary = prepared.conditions.boundary
        if boundary is None or self._known_head.is_near(boundary.after):
            return prepared
        try:
            async with self._pool.connection() as connection:
                check = _check(prepared, boundary)
                asked = next(check)
                while True:
                    asked = check.send(await search_async(connection, asked))
        except StopIteration as end:
            checked: PreparedAppend = end.value
            return checked
        except psycopg.Error as error:
            raise_unavailable(error)
            raise


@asynccontextmanager
async def open_boundary_check(database_url: str) -> AsyncIterator[BoundaryCheck]:
    """Open a check that connects when there is something to check, as the role `varve_writer`."""
    pool: AsyncConnectionPool[Any] = AsyncConnectionPool(
        database_url,
        min_size=0,
        max_size=_CONNECTIONS,
        timeout=_WAIT_SECONDS,
        kwargs={"autocommit": True, "options": f"{SESSION_OPTIONS} {MATCHING_OPTIONS}"},
        check=AsyncConnectionPool.check_connection,
        open=False,
        name="varve_writer_boundaries",
    )
    async with pool:
        yield BoundaryCheck(pool)


def brought_forward(
    connection: psycopg.Connection[Any], prepared: PreparedAppend, boundary: Boundary
) -> PreparedAppend:
    """Do for threads what `BoundaryCheck` does for tasks; errors are psycopg's."""
    check = _check(prepared, boundary)
    asked = next(check)
    try:
        while True:
            asked = check.send(search(connection, asked))
    except StopIteration as end:
        checked: PreparedAppend = end.value
        return checked


def _check(prepared: PreparedAppend, boundary: Boundary) -> Check:
    """Ask for windows until the head is reached or an event crosses the boundary.

    Refusing is left to the append, which looks first whether this very command was stored before: a boundary that is
    crossed is sent so that it finds the event at once.
    """
    after, upto = boundary.after, None
    while True:
        window = yield Search(prepared.tenant, boundary.items, after, upto, limit=1, candidates=_CANDIDATES)
        if window.events:
            event = window.events[0]
            crossed = next(item for item in boundary.items if matches(item, event.topic, event.tags))
            return prepared.with_boundary(Boundary((crossed,), event.position - 1))
        if window.is_last:
            return prepared.with_boundary(boundary._replace(after=max(boundary.after, window.upto)))
        after, upto = window.scanned_to, window.upto
