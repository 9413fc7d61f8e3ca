"""Limits that Varve's own processes set themselves, so that one of them is never the end of another."""

import contextlib
import ctypes
import os
import resource
import signal
import sys
from pathlib import Path

_PR_SET_PDEATHSIG = 1
_MEBIBYTE = 1024 * 1024
OUT_OF_MEMORY = 71
"""The exit code of a process that needed more memory than it may have."""
_OUT_OF_MEMORY_SCORE = Path("/proc/self/oom_score_adj")


def limit_memory(mebibytes: int) -> None:
    """Let this process and its children have so much address space: beyond it Python raises `MemoryError`."""
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    wanted = mebibytes * _MEBIBYTE
    if hard == resource.RLIM_INFINITY or wanted < hard:
        resource.setrlimit(resource.RLIMIT_AS, (wanted, wanted))


def volunteer_for_the_kernel(score: int) -> None:
    """Have the kernel end this process rather than PostgreSQL when memory runs out.

    Args:
        score: 0 to 1000, the share of the machine's memory in thousandths that this process seems to use more.
    """
    with contextlib.suppress(OSError):  # not Linux, or a container that forbids it
        _OUT_OF_MEMORY_SCORE.write_text(str(score), encoding="ascii")


def die_with(parent: int, number: signal.Signals) -> None:
    """Have the kernel send `number` to this process when its parent ends; exit when it has ended already."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, number)
    if os.getppid() != parent:
        sys.exit("the parent ended before this process had started")
