"""Shares the event loop and the memory between requests that are long to check."""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Generator
from contextlib import asynccontextmanager
from typing import TypeVar

T = TypeVar("T")

Steps = Generator[None, None, T]
"""A computation in steps: each is short, and between two of them it can be left and continued."""

_SLICE_SECONDS = 0.002


class Slices:
    """Runs computations of many requests a slice at a time: in each turn of the loop one slice, however many wait."""

    def __init__(self) -> None:
        self._lock = asyncio.Lock()

    async def run(self, steps: Steps[T]) -> T:
        """Return the result of `steps`, or raise its exception."""
        while True:
            async with self._lock:
                end = time.perf_counter() + _SLICE_SECONDS
                try:
                    while time.perf_counter() < end:
                        next(steps)
                except StopIteration as done:
                    result: T = done.value
                    return result
            await asyncio.sleep(0)


class Slots:
    """Lets a few requests of each tenant at a time do what takes memory; the others of the tenant wait."""

    def __init__(self, for_each: int) -> None:
        self._for_each = for_each
        self._semaphores: dict[str, asyncio.Semaphore] = {}
        self._users: Counter[str] = Counter()

    @asynccontextmanager
    async def taken(self, tenant: str) -> AsyncIterator[None]:
        """Hold a slot of `tenant`."""
        semaphore = self._semaphores.setdefault(tenant, asyncio.Semaphore(self._for_each))
        self._users[tenant] += 1
        try:
            async with semaphore:
                yield
        finally:
            self._users[tenant] -= 1
            if not self._users[tenant]:
                del self._users[tenant], self._semaphores[tenant]
