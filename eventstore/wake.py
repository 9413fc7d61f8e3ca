"""Wakes readers of the log after a commit. A lost wake-up costs time, never an event: readers poll as well."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import psycopg

from eventstore.fault_log import FAULTS

CHANNEL = "varve_log"
"""Told of after events were appended."""
READY_CHANNEL = "varve_ready"
"""Told of after something was made that a projection waits for."""
LANES_CHANNEL = "varve_lanes"
"""Told of after lanes were made that nobody runs yet."""
_RECONNECT_SECONDS = (0.0, 0.05, 0.1, 0.2, 0.5, 1.0)
_STEADY_SECONDS = 1.0
"""A connection that lived that long is opened again at once when it is lost."""
KEEPALIVES: dict[str, Any] = {
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 10_000,
}
"""With these a peer that is gone without a word is noticed after some seconds, not after two hours."""


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
        await _keep_connected(self._database_url, self._send, "wake.sender_lost")

    async def _send(self, connection: psycopg.AsyncConnection) -> None:
        while True:
            await self._is_due.wait()
            self._is_due.clear()
            try:
                await connection.execute("select pg_notify(%s, '')", (CHANNEL,), prepare=True)
            except psycopg.Error:
                self._is_due.set()
                raise


class WakeListener:
    """Calls back for every notification on a channel of `calls`, and each of them after every (re)connection.

    Its URL leads to the server itself: behind a pooler in transaction mode, LISTEN is taken and nothing ever comes.
    """

    def __init__(self, database_url: str, calls: Mapping[str, Callable[[], None]]) -> None:
        self._database_url = database_url
        self._calls = calls

    async def run(self) -> None:
        """Listen until cancelled; a lost connection is opened again."""
        await _keep_connected(self._database_url, self._listen, "wake.listener_lost")

    async def _listen(self, connection: psycopg.AsyncConnection) -> None:
        for channel in self._calls:
            await connection.execute(f"listen {channel}")
        for call in self._calls.values():
            call()  # for what came while nobody listened
        async for notification in connection.notifies():
            self._calls[notification.channel]()


async def _keep_connected(
    database_url: str, work: Callable[[psycopg.AsyncConnection], Awaitable[None]], lost: str
) -> None:
    """Run `work` until cancelled, on one connection after another; its loss is logged as `lost`."""
    loop = asyncio.get_running_loop()
    tries = 0
    while True:
        began = loop.time()
        try:
            async with await psycopg.AsyncConnection.connect(database_url, autocommit=True, **KEEPALIVES) as connection:
                await work(connection)
        except psycopg.Error as error:
            FAULTS.note(lost, error)
        tries = 0 if loop.time() - began > _STEADY_SECONDS else tries + 1
        await asyncio.sleep(_RECONNECT_SECONDS[min(tries, len(_RECONNECT_SECONDS) - 1)])
