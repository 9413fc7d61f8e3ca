"""The lock that keeps a data directory to one supervisor; the kernel gives it back when that process dies."""

import fcntl
import os
import time
from pathlib import Path

from varve.embedded.errors import AlreadyRunning


class DirectoryLock:
    """An exclusive lock on a file that also names its holder's process id."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor: int | None = None

    def acquire(self) -> None:
        """Take the lock.

        Raises:
            AlreadyRunning: Another process, or another object of this one, has it.
        """
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            raise AlreadyRunning(self._path.parent, _holder(self._path)) from None
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        self._descriptor = descriptor

    def release(self) -> None:
        """Give the lock back; harmless without it."""
        if self._descriptor is not None:
            os.ftruncate(self._descriptor, 0)
            os.close(self._descriptor)
            self._descriptor = None


def _holder(path: Path) -> int | None:
    # The holder writes its id right after it has taken the lock.
    for _ in range(10):
        written = path.read_text().strip()
        if written:
            return int(written)
        time.sleep(0.01)
    return None
