"""Calls begin at even times, and a time runs from when its call was due."""

import asyncio
import time

from benchmarks.engines.commands import evenly


async def test_a_slow_call_holds_up_no_other():
    begun = []

    async def call() -> None:
        begun.append(time.perf_counter())
        await asyncio.sleep(0.2)

    milliseconds = await evenly(call, per_second=50, seconds=0.2)

    assert len(begun) == len(milliseconds) == 10
    assert begun[-1] - begun[0] >= 0.17
    assert min(milliseconds) >= 200
