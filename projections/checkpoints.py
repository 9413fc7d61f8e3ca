"""Moves the checkpoints of lanes that had nothing to apply: all that wait go with one statement."""

import asyncio
from typing import Any

from psycopg_pool import AsyncConnectionPool

from eventstore.background import end
from projections.leases import LaneLease, LeaseLostError, Move, advance_each


class Checkpoints:
    """Group commit for lanes: most events are for few projections, and a commit for each of the others costs as much.

    Nothing waits to be gathered: while one statement is on its way, the next one fills.
    """

    def __init__(self, pool: AsyncConnectionPool[Any]) -> None:
        self._pool = pool
        self._waiting: list[tuple[Move, asyncio.Future[None]]] = []
        self._sending: asyncio.Task[None] | None = None

    async def move(self, lease: LaneLease, position: int, to: int) -> None:
        """Move a lane's position when it is committed that it passed.

        Raises:
            LeaseLostError: as for `advance`.
            psycopg.Error, PoolTimeout: the database is away; whether it moved is unknown.
        """
        moved: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((Move(lease, position, to), moved))
        if self._sending is None:
            self._sending = asyncio.create_task(self._send(), name="checkpoints")
        await moved

    async def close(self) -> None:
        """End what is on its way; nobody waits for it any more."""
        if self._sending is not None:
            await end(self._sending)

    async def _send(self) -> None:
        while self._waiting:
            waiting, self._waiting = self._waiting, []
            try:
                async with self._pool.connection() as connection:
                    passed = await advance_each(connection, [move for move, _ in waiting])
            except Exception as error:  # noqa: BLE001 - every lane that waits is told, and decides
                _answer(waiting, error)
            else:
                _answer([each for each in waiting if each[0].lease.key in passed], None)
                _answer([each for each in waiting if each[0].lease.key not in passed], LeaseLostError())
        self._sending = None


def _answer(waiting: list[tuple[Move, asyncio.Future[None]]], error: Exception | None) -> None:
    for _, moved in waiting:
        if moved.done():
            continue  # the lane was stopped
        if error is None:
            moved.set_result(None)
        else:
            moved.set_exception(error)
