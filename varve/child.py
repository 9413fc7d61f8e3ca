"""The start of a process that `varve up` supervises: it ends when its supervisor does, however that ends."""

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def main(supervisor_pid: int, arguments: list[str]) -> None:
    """Tie this process's life to its supervisor's, then run the command line."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != supervisor_pid:
        sys.exit("the supervisor ended before this process had started")
    from varve.cli import main as command_line

    sys.argv = ["varve", *arguments]
    command_line()
