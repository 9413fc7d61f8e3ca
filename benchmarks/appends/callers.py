"""Callers that append one after another: tasks of an event loop, or threads."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor

from benchmarks.appends.measured import Slice


async def tasks(append: Callable[[int], Awaitable[object]], *, callers: int, seconds: float, events: int = 1) -> Slice:
    """Keep `callers` tasks busy, each with its number; an append has `events` events, and these are counted."""
    milliseconds: list[float] = []
    started = time.perf_counter()
    end = started + seconds

    async def caller(number: int) -> None:
        while (sent := time.perf_counter()) < end:
            await append(number)
            milliseconds.append((time.perf_counter() - sent) * 1000)

    await asyncio.gather(*(caller(number) for number in range(callers)))
    return Slice.of(time.perf_counter() - started, milliseconds, events)


async def threads(append: Callable[[], object], *, callers: int, seconds: float, events: int = 1) -> Slice:
    """Keep `callers` threads busy, while the event loop has nothing to do."""
    return await asyncio.to_thread(_threads, append, callers, seconds, events)


def _threads(append: Callable[[], object], callers: int, seconds: float, events: int) -> Slice:
    started = time.perf_counter()
    end = started + seconds

    def caller() -> list[float]:
        milliseconds = []
        while (sent := time.perf_counter()) < end:
            append()
            milliseconds.append((time.perf_counter() - sent) * 1000)
        return milliseconds

    with ThreadPoolExecutor(callers) as executor:
        futures = [executor.submit(caller) for _ in range(callers)]
        milliseconds = [each for future in futures for each in future.result()]
    return Slice.of(time.perf_counter() - started, milliseconds, events)
