"""Lets others have the processors that a long computation would take: commands and queries beside a rebuild."""

import asyncio
from pathlib import Path

_SCHEDULED = Path("/proc/thread-self/schedstat")
_NANOSECONDS = 1e9


class Courtesy:
    """Rests as long as this thread has stood in line for a processor since the last rest.

    Where nobody else wants one it costs nothing. Linux tells how long a thread was ready to run and did not; elsewhere
    there is no rest but for a turn of the event loop.
    """

    def __init__(self) -> None:
        self._waited = _waited()

    async def rest(self) -> None:
        """Let the event loop, and whoever else waits for a processor, go on."""
        before, self._waited = self._waited, _waited()
        await asyncio.sleep(self._waited - before)


def _waited() -> float:
    """Return for how many seconds in all the calling thread has waited for a processor; 0 where that is not known."""
    try:
        return int(_SCHEDULED.read_bytes().split()[1]) / _NANOSECONDS
    except OSError:
        return 0.0
