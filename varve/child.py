"""The start of a process that `varve up` supervises: it ends when its supervisor does, however that ends."""

import ctypes
import os
import signal
import sys
from pathlib import Path

READY_FILE = "VARVE_READY_FILE"
"""The environment variable that names the file by which a process tells its supervisor that it does its work."""

_PR_SET_PDEATHSIG = 1


def main(supervisor_pid: int, arguments: list[str]) -> None:
    """Tie this process's life to its supervisor's, then run the command line."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != supervisor_pid:
        sys.exit("the supervisor ended before this process had started")
    from varve.cli import main as command_line  # after the tie: importing takes a second

    sys.argv = ["varve", *arguments]
    command_line()


def announce_ready() -> None:
    """Tell the supervisor, if there is one, that this process does its work."""
    if path := os.environ.get(READY_FILE):
        Path(path).touch()
