"""Follows the log: window after window from a position on, each a few milliseconds after its events' commit."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import psycopg
import structlog

from eventstore.background import running_beside, until_set
from eventstore.epochs import read_epochs
from eventstore.fault_log import FAULTS
from eventstore.log import FetchedRows, LogReader, UnknownEvent, Window
from eventstore.log_filter import EVERYTHING, LogFilter
from eventstore.pipelines import PipelineConnection
from eventstore.position import LogPosition, parse_position
from eventstore.sessions import SESSION_OPTIONS
from eventstore.wake import CHANNEL, KEEPALIVES, WakeListener

log = structlog.get_logger()

_DIRECT_SESSION: Mapping[str, Any] = {"options": SESSION_OPTIONS}
_WINDOW = 1000
_POLL_SECONDS = 0.5
_LONGEST_READ_SECONDS = 5.0
_AGAIN_SECONDS = (0.0, 0.05, 0.1, 0.2, 0.5)


class Subscription:
    """The windows of the log after a position, as an endless asynchronous iterator; made by `subscribe`.

    Windows follow each other without gap or repetition, whatever happens to connections. A window without events says
    how far a filtered reader has come. Nothing is read before it is asked for, and no transaction is open in between,
    so a slow reader holds one window, and on the server an idle connection. It is read by one task at a time; a reading
    that is cancelled, as `asyncio.timeout` does it, loses nothing.
    """

    def __init__(
        self,
        reader: LogReader,
        database_url: str,
        *,
        after: LogPosition | None = None,
        wanted: LogFilter = EVERYTHING,
        limit: int = _WINDOW,
        poll_seconds: float = _POLL_SECONDS,
        session: Mapping[str, Any] = _DIRECT_SESSION,
    ) -> None:
        self._reader = reader
        self._database_url = database_url
        self._connection: psycopg.AsyncConnection[Any] | None = None
        self._position = after.position if after else 0
        self._epoch = after.epoch if after else None
        self._wanted = wanted
        self._limit = limit
        self._poll_seconds = poll_seconds
        self._session = session
        self._is_due = asyncio.Event()

    def __aiter__(self) -> AsyncIterator[Window]:
        return self

    async def __anext__(self) -> Window:
        """Return the next window, when there is one.

        Raises:
            UnknownEvent: newer code wrote the next event; all before it were delivered. Asking again tries it again;
                `skip` goes on after it.
            ForeignEpoch: the last windows came from a history of the log that no longer exists.
        """
        while True:
            self._is_due.clear()
            fetched = await self._fetch()
            window = await self._reader.decode(fetched)
            if window.scanned_to > self._position:
                self._position = window.scanned_to
                return window
            await until_set(self._is_due, self._poll_seconds)

    def wake(self) -> None:
        """Look at the log now."""
        self._is_due.set()

    def skip(self, unknown: UnknownEvent) -> None:
        """Go on after an event that this code doesn't know."""
        self._position = max(self._position, unknown.position)

    async def close(self) -> None:
        """Close the connection; asking for a window opens it again."""
        if self._connection is not None:
            await self._connection.close()
            self._connection = None

    async def _fetch(self) -> FetchedRows:
        """Return the rows of the next window, as soon as the database can be reached."""
        tries = 0
        while True:
            try:
                async with asyncio.timeout(_LONGEST_READ_SECONDS):
                    return await self._fetch_once()
            except (psycopg.Error, TimeoutError) as error:
                FAULTS.note("subscription.read_failed", error, position=self._position)
                await asyncio.sleep(_AGAIN_SECONDS[min(tries, len(_AGAIN_SECONDS) - 1)])
                tries += 1

    async def _fetch_once(self) -> FetchedRows:
        try:
            if self._connection is None:
                self._connection = await PipelineConnection.connect(
                    self._database_url, autocommit=True, **KEEPALIVES, **self._session
                )
            fetched = await self._reader.fetch(self._connection, self._position, self._limit, self._wanted)
            if fetched.epoch != self._epoch:
                await self._follow(self._connection, fetched.epoch)
        except BaseException:  # a cancelled one may have left the connection in the middle of something
            await self.close()
            raise
        return fetched

    async def _follow(self, connection: psycopg.AsyncConnection[Any], epoch: str) -> None:
        """Go over to another history of the log, provided that it holds all that was delivered.

        Raises:
            ForeignEpoch: it doesn't.
            InvalidPosition: the position is of another log.
        """
        if self._epoch is not None:
            parse_position(str(LogPosition(self._epoch, self._position)), await read_epochs(connection))
        self._epoch = epoch


@asynccontextmanager
async def subscribe(
    reader: LogReader, database_url: str, *, listen_url: str, **options: Any
) -> AsyncIterator[Subscription]:
    """Open a subscription, for as long as the block lasts.

    Args:
        reader: decodes the events.
        database_url: as a role that reads all tenants; a pooler may be in between, if `session` fits it.
        listen_url: of the server itself, without a pooler.
        options: those of `Subscription`; `session` is what connections are opened with besides the URL.
    """
    subscription = Subscription(reader, database_url, **options)
    async with running_beside(WakeListener(listen_url, {CHANNEL: subscription.wake}).run()):
        try:
            yield subscription
        finally:
            await subscription.close()
