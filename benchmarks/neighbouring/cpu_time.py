"""The processor time of a process's descendants, so that a burner can be made as large as a load."""

import asyncio
import os
from collections.abc import AsyncIterator, Collection, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from eventstore.background import running_beside

_LOOK_SECONDS = 0.25
_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass
class CpuTime:
    """Seconds that the descendants used, those included that have ended since.

    A process that begins and ends between two looks is missed, unless its parent waits for it: its time is then its
    parent's too, and counted there.
    """

    without: Collection[int]
    _first: dict[int, float] = field(default_factory=dict)
    _last: dict[int, float] = field(default_factory=dict)

    @property
    def seconds(self) -> float:
        return sum(self._last.values()) - sum(self._first.values())

    def look(self, *, is_first: bool = False) -> None:
        """Note the time of each descendant now; one that a later look finds began at zero."""
        for pid, seconds in _times_of_descendants(os.getpid(), self.without):
            if is_first:
                self._first[pid] = seconds
            self._last[pid] = max(seconds, self._last.get(pid, 0.0))


@asynccontextmanager
async def cpu_time(without: Collection[int] = ()) -> AsyncIterator[CpuTime]:
    """Count the processor time of this process's descendants within the block, but for those that are `without`."""
    counted = CpuTime(without)
    counted.look(is_first=True)

    async def look_often() -> None:
        while True:
            await asyncio.sleep(_LOOK_SECONDS)
            counted.look()

    async with running_beside(look_often()):
        yield counted
    counted.look()


def _times_of_descendants(pid: int, without: Collection[int]) -> Iterator[tuple[int, float]]:
    for child in _children(pid):
        if child not in without:
            with suppress(FileNotFoundError, ProcessLookupError):
                yield child, _seconds(child)
            yield from _times_of_descendants(child, without)


def _children(pid: int) -> list[int]:
    found: list[int] = []
    with suppress(FileNotFoundError, ProcessLookupError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            with suppress(FileNotFoundError, ProcessLookupError):
                found += map(int, (task / "children").read_text().split())
    return found


def _seconds(pid: int) -> float:
    """Return what a process has used by itself, in user and in kernel mode."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS
