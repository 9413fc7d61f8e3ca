"""Turns of the event loop: a long computation gives other tasks theirs every few milliseconds."""

import asyncio
import time

_SECONDS = 0.004


class Turn:
    """The turn of one computation, which pauses between its steps; a step is as long as it is."""

    def __init__(self) -> None:
        self._began = time.perf_counter()

    async def pause(self) -> None:
        """Let other tasks run if this one has held the loop for long."""
        if time.perf_counter() - self._began > _SECONDS:
            await asyncio.sleep(0)
            self._began = time.perf_counter()
