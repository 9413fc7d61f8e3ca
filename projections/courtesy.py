"""Lets others have the processors that a long computation would take: commands and queries beside a rebuild."""

import asyncio
import time
from pathlib import Path

_SCHEDULED = Path("/proc/thread-self/schedstat")
_NANOSECONDS = 1e9
_COMPANY_SECONDS = 1.0
"""Somebody who was at work is expected to be again within these."""
_RESTS = 3.0
"""How much longer than it works it rests meanwhile."""


class Courtesy:
    """Rests as long as this thread has stood in line for a processor since the last rest.

    Where nobody else wants one it costs nothing. Linux tells how long a thread was ready to run and did not; elsewhere
    there is no rest but for a turn of the event loop. Who works in many short steps, as commands do, waits a little at
    each of them all the same: while somebody is known to, most of the time is theirs.
    """

    def __init__(self) -> None:
        self.worked = 0.0
        """For how many seconds, rests not counted, so far."""
        self._began = time.monotonic()
        self._waited = _waited()
        self._company_until = 0.0

    def note_company(self) -> None:
        """Note that somebody else is at work."""
        self._company_until = time.monotonic() + _COMPANY_SECONDS

    @property
    def has_company(self) -> bool:
        """Whether somebody else is at work."""
        return time.monotonic() < self._company_until

    async def rest(self) -> None:
        """Let the event loop, and whoever else waits for a processor, go on."""
        now, before = time.monotonic(), self._waited
        self._waited = _waited()
        worked = now - self._began
        self.worked += worked
        await asyncio.sleep(self._waited - before + (_RESTS * worked if self.has_company else 0.0))
        self._began = time.monotonic()


def _waited() -> float:
    """Return for how many seconds in all the calling thread has waited for a processor; 0 where that is not known."""
    try:
        return int(_SCHEDULED.read_bytes().split()[1]) / _NANOSECONDS
    except OSError:
        return 0.0
