"""How soon a command's row can be read: from the command's answer until the read model's checkpoint is past it."""

import asyncio
import time
from bisect import bisect_left
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress

import psycopg

_SECONDS_BETWEEN = 0.003
_POSITION = """
select min(l.position) from varve.generations g join varve.lanes l using (projection, generation)
where g.status = 'live' and g.projection = %s
"""


class CheckpointWatch:
    """When a projection's checkpoint was first seen at which position; it is committed together with the rows."""

    def __init__(self, projection: str) -> None:
        self._projection = projection
        self._times: list[float] = []
        self._positions: list[int] = []
        self._has_moved = asyncio.Event()

    def milliseconds(self, answered: Sequence[tuple[float, int]]) -> list[float]:
        """Return how long after each answer its position was reached, given (`time.perf_counter()`, position).

        It is 0 where the rows were there before the answer was.
        """
        reached = (self._times[bisect_left(self._positions, position)] for _, position in answered)
        return [max(0.0, (at - moment) * 1000) for at, (moment, _) in zip(reached, answered, strict=True)]

    def note(self, moment: float, position: int) -> None:
        """Take down that the checkpoint is at `position`."""
        if not self._positions or position > self._positions[-1]:
            self._times.append(moment)
            self._positions.append(position)
            self._has_moved.set()

    async def until(self, position: int) -> None:
        """Wait until `position` is reached."""
        while not self._positions or self._positions[-1] < position:
            self._has_moved.clear()
            await self._has_moved.wait()

    async def run(self, database_url: str) -> None:
        """Look every few milliseconds until cancelled."""
        async with await psycopg.AsyncConnection.connect(database_url, autocommit=True) as connection:
            while True:
                cursor = await connection.execute(_POSITION, (self._projection,), prepare=True)
                ((position,),) = await cursor.fetchall()
                if position is not None:
                    self.note(time.perf_counter(), position)
                await asyncio.sleep(_SECONDS_BETWEEN)


@asynccontextmanager
async def watching(projection: str, database_url: str) -> AsyncIterator[CheckpointWatch]:
    """Watch for as long as the block lasts."""
    watch = CheckpointWatch(projection)
    task = asyncio.create_task(watch.run(database_url))
    try:
        yield watch
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
