"""Shares the memory between requests that are long to check."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


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
