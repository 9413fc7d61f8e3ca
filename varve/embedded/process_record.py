"""The note of a server's process id that a later supervisor can trust: no name, and no id that was used again."""

import asyncio
import contextlib
import os
import signal
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from varve.embedded.become import boot_id, start_ticks

StopSignals = Sequence[tuple[signal.Signals, float]]
"""Signals to send in turn, each with the seconds to wait for the end before the next."""


@dataclass(frozen=True)
class ProcessRecord:
    """One process of one boot."""

    pid: int
    ticks: int
    boot: str

    def is_alive(self) -> bool:
        """Whether that very process still runs."""
        return self.boot == boot_id() and start_ticks(self.pid) == self.ticks


def read_record(path: Path) -> ProcessRecord | None:
    """The record that `become` wrote, or None when there is no whole one."""
    try:
        pid, ticks, boot = path.read_text().split()
        return ProcessRecord(int(pid), int(ticks), boot)
    except (FileNotFoundError, ValueError):
        return None


async def stop_recorded(record: ProcessRecord, signals: StopSignals) -> None:
    """End a process that an earlier, killed supervisor left behind."""
    for sent, seconds in signals:
        if not record.is_alive():
            return
        with contextlib.suppress(ProcessLookupError):
            os.kill(record.pid, sent)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while record.is_alive():  # noqa: ASYNC110 - the process is not our child: there is no event to wait for
                    await asyncio.sleep(0.05)
