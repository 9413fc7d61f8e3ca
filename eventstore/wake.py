"""Wakes readers of the log after a commit. A lost wake-up costs time, never an event: readers poll as well."""

import asyncio
import contextlib
from collections.abc import Callable

import psycopg
import structlog

log = structlog.get_logger()

CHANNEL = "varve_log"
_RECONNECT_SECONDS = 1.0


class WakeSender:
    """Sends one notification for however many appends came since the last one.

    It has a connection of its own: a NOTIFY in the append's transaction would take a database-wide lock at its commit.
    """

    def __init__(self, database_url: str) -> None:
        self._database_url = database_url
        self._is_due = asyncio.Event()

    def wake(self) -> None:
        self._is_due.set()

    async def run(self) -> None:
        """Send until cancelled; a lost connection is opened again."""
        while True:
            try:
                async with await psycopg.AsyncConnection.connect(self._database_url, autocommit=True) as connection:
                    while True:
                        await self._is_due.wait()
                        self._is_due.clear()
                        await connection.execute("select pg_notify(%s, '')", (CHANNEL,), prepare=True)
            except psycopg.Error as error:
                log.warning("wake.connection_lost", error=str(error))
                self._is_due.set()
                await asyncio.sleep(_RECONNECT_SECONDS)


class WakeListener:
    """Calls back for every notification on `channel`, and once after every (re)connection."""

    def __init__(self, database_url: str, on_wake: Callable[[], None], channel: str = CHANNEL) -> None:
        self._database_url = database_url
        self._on_wake = on_wake
        self._channel = channel

    async def run(self) -> None:
        """Listen until cancelled; a lost connection is opened again."""
        while True:
            with contextlib.suppress(psycopg.Error):
                async with await psycopg.AsyncConnection.connect(self._database_url, autocommit=True) as connection:
                    await connection.execute(f"listen {self._channel}")
                    self._on_wake()
                    async for _ in connection.notifies():
                        self._on_wake()
            log.warning("wake.listener_lost", channel=self._channel)
            await asyncio.sleep(_RECONNECT_SECONDS)
