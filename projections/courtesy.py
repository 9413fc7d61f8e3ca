"""Lets others have the processors that a long computation would take: commands and queries beside a rebuild."""

import asyncio
import time
from collections.abc import Callable, Iterable
from pathlib import Path

_SCHEDULED = Path("/proc/thread-self/schedstat")
_PROCESSES = Path("/proc")
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

    def __init__(self, helpers: Callable[[], Iterable[int]] = tuple) -> None:
        """Take what tells the processes that do a part of the work: what they work and wait counts, too."""
        self.worked = 0.0
        """For how many seconds, rests not counted, so far; what helpers worked meanwhile comes on top."""
        self._helpers = helpers
        self._began = time.monotonic()
        self._helped, waited = self._of_helpers()
        self._waited = _waited() + waited
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
        now, waited_before, helped_before = time.monotonic(), self._waited, self._helped
        self._helped, waited = self._of_helpers()
        self._waited = _waited() + waited
        worked = now - self._began + max(0.0, self._helped - helped_before)
        self.worked += worked
        stood_in_line = max(0.0, self._waited - waited_before)  # less than before when a helper has ended
        await asyncio.sleep(stood_in_line + (_RESTS * worked if self.has_company else 0.0))
        self._began = time.monotonic()

    def _of_helpers(self) -> tuple[float, float]:
        """Return for how many seconds the helpers have worked, and waited for a processor."""
        times = [_times(_PROCESSES / str(pid) / "schedstat") for pid in self._helpers()]
        return sum(worked for worked, _ in times), sum(waited for _, waited in times)


def _waited() -> float:
    """Return for how many seconds in all the calling thread has waited for a processor; 0 where that is not known."""
    return _times(_SCHEDULED)[1]


def _times(path: Path) -> tuple[float, float]:
    try:
        worked, waited, *_ = path.read_bytes().split()
    except OSError:
        return 0.0, 0.0
    return int(worked) / _NANOSECONDS, int(waited) / _NANOSECONDS
