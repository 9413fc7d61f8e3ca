"""The start of a process that `varve up` supervises: it ends when its supervisor does, however that ends."""

import os
import signal
import sys
import traceback
from pathlib import Path

from workers.process_limits import die_with

READY_FILE = "VARVE_READY_FILE"
"""The environment variable that names the file by which a process tells its supervisor that it does its work."""
AFTER_CRASH = "VARVE_AFTER_CRASH"
"""The environment variable that tells a process that the one before it ended by what it did."""
FAILED = 70
"""The exit code of a process that gave up: it would do so again. One that something ended from outside has another."""


def main(supervisor_pid: int, arguments: list[str]) -> None:
    """Tie this process's life to its supervisor's, then run the command line."""
    die_with(supervisor_pid, signal.SIGTERM)
    from varve.cli import main as command_line  # after the tie: importing takes a second

    sys.argv = ["varve", *arguments]
    try:
        command_line()
    except Exception:  # noqa: BLE001 - its traceback is in the log, its exit code tells the supervisor
        traceback.print_exc()
        sys.exit(FAILED)


def is_after_crash() -> bool:
    """Whether the process that ran here before ended by what it did."""
    return AFTER_CRASH in os.environ


def announce_ready() -> None:
    """Tell the supervisor, if there is one, that this process does its work."""
    if path := os.environ.get(READY_FILE):
        Path(path).touch()
