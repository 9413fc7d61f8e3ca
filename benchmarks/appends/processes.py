"""What it costs that several processes append: their writers stand in line for the log's lock."""

import asyncio
import json
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from itertools import chain
from typing import Any

from benchmarks.appends.lines import OtherProcess, other_process
from benchmarks.appends.measured import Bench, Contender, Slice, Target

_HEAD_START_SECONDS = 0.1


async def several_processes(bench: Bench) -> list[dict[str, Any]]:
    """32 callers, in one process, in two and in four; the processes that have no callers wait."""
    async with AsyncExitStack() as stack:
        settings = stack.enter_context(bench.server.database())
        url = settings.role_url("varve_writer")
        processes = [
            await stack.enter_async_context(other_process("benchmarks.appends.caller_process", url)) for _ in range(4)
        ]
        contenders = [
            Contender("1 process x 32", _Load(processes[:1], 32)),
            Contender("2 processes x 16", _Load(processes[:2], 16)),
            Contender("4 processes x 8", _Load(processes, 8)),
        ]
        targets = [
            Target("2 processes x 16", "1 process x 32", "≥", 0.75),
            Target("4 processes x 8", "1 process x 32", "≥", 0.5),
        ]
        return await bench.measure("processes", contenders, targets)


class _Load:
    """Keeps the callers of some processes busy at the same time."""

    def __init__(self, processes: Sequence[OtherProcess], callers: int) -> None:
        self._processes = processes
        self._callers = callers

    async def __call__(self, seconds: float) -> Slice:
        start = time.perf_counter() + _HEAD_START_SECONDS  # of the machine's one monotonic clock
        load = json.dumps({"start": start, "end": start + seconds, "callers": self._callers})
        answers = await asyncio.gather(*(process.ask(load) for process in self._processes))
        return Slice.of(seconds, list(chain.from_iterable(json.loads(answer) for answer in answers)))
