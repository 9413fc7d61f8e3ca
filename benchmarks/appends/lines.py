"""Other processes of a benchmark: each is asked by a line on its standard input, and answers with a line."""

import asyncio
import logging
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import structlog

_LONGEST_LINE = 1 << 26


class OtherProcess:
    """A module of ours in a process of its own."""

    def __init__(self, process: Process) -> None:
        self._process = process

    @property
    def pid(self) -> int:
        return self._process.pid

    async def ask(self, line: str) -> bytes:
        """Return what it answers, a line."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(line.encode() + b"\n")
        answer = await self._process.stdout.readline()
        assert answer, "another process of the benchmark has ended"
        return answer


@asynccontextmanager
async def other_process(module: str, first_line: str) -> AsyncIterator[OtherProcess]:
    """Run `module` until the block ends; it has answered `first_line`, which may be a secret, when this yields."""
    program = (sys.executable, "-P", "-m", module)
    process = await asyncio.create_subprocess_exec(*program, stdin=PIPE, stdout=PIPE, limit=_LONGEST_LINE)
    try:
        other = OtherProcess(process)
        await other.ask(first_line)
        yield other
    finally:
        with suppress(ProcessLookupError):  # it was killed
            process.terminate()
        await process.wait()


def log_to_stderr(level: int = logging.INFO) -> None:
    """Keep the standard output for answers, and leave out what is below `level`."""
    structlog.configure(
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        wrapper_class=structlog.make_filtering_bound_logger(level),
    )
