"""Shares the connections of a reader pool out, so that no read model and no tenant can hold all of them."""

import asyncio
from collections import Counter, deque
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from types import TracebackType
from typing import Any

import psycopg
from psycopg_pool import AsyncConnectionPool

from eventstore.errors import ReadersBusy, StoreUnavailable

WAIT_SECONDS = 2.5
"""A question waits hardly longer for a connection than for a lock: see the readers' `lock_timeout`."""
_MOST_WAITING = 500
"""Of a tenant: more would not be answered within the time that they wait."""

Connection = psycopg.AsyncConnection[Any]
_Kind = tuple[str, tuple[str, ...]]
"""A tenant, and the read models that its question is about."""


@dataclass(frozen=True, slots=True)
class Shares:
    """How many connections of a pool may be out at once.

    Attributes:
        model: for questions about one read model.
        tenant_of_model: for those of one tenant among them.
        models: for questions about read models.
        tenant_of_models: for those of one tenant among them.
        tenant: for one tenant: half of the pool.
        total: for tenants: the last connection is for the process's own questions, such as how far read models are.
    """

    model: int
    tenant_of_model: int
    models: int
    tenant_of_models: int
    tenant: int
    total: int

    @classmethod
    def of(cls, connections: int) -> "Shares":
        """Return the shares of a pool of so many connections: each at least one, or nothing would be answered."""
        half = connections // 2
        total = max(1, connections - 1)
        return cls(
            model=max(1, half - 1),
            tenant_of_model=max(1, half - 2),
            models=max(1, min(total, connections - connections // 4)),
            tenant_of_models=max(1, half - 1),
            tenant=max(1, half),
            total=total,
        )


class Bulkheads:
    """Lends a pool's connections to the questions of tenants; safe to share between the tasks of one event loop.

    What finds its shares full waits, for a bounded time. A connection that comes back goes to the tenant that has the
    fewest, and of those to the one whose kind of question has waited for its turn longest.
    """

    def __init__(self, pool: AsyncConnectionPool[Any], *, wait_seconds: float = WAIT_SECONDS) -> None:
        self.pool = pool
        self._shares = Shares.of(pool.max_size)
        self._wait_seconds = wait_seconds
        self._total = 0
        self._about_models = 0
        self._models: Counter[str] = Counter()
        self._tenants: Counter[str] = Counter()
        self._tenants_about_models: Counter[str] = Counter()
        self._kinds: Counter[tuple[str, str]] = Counter()
        """By tenant and read model."""
        self._waiting: dict[_Kind, deque[asyncio.Future[None]]] = {}
        self._number_waiting: Counter[str] = Counter()
        """By tenant."""

    def connection(self, tenant: str, models: tuple[str, ...]) -> "AbstractAsyncContextManager[Connection]":
        """Lend a connection for a question of `tenant` about `models`, none of which must come twice.

        Raises:
            ReadersBusy: there was none for too long.
            StoreUnavailable: `refuse` was called meanwhile.
            PoolTimeout: the pool has none.
        """
        return _Lent(self, tenant, models)

    def refuse(self, model: str, error: Callable[[], StoreUnavailable]) -> None:
        """Raise an `error` of its own for whatever waits to ask about `model`."""
        for kind in [each for each in self._waiting if model in each[1]]:
            for future in self._waiting.pop(kind):
                if not future.done():
                    future.set_exception(error())

    async def enter(self, tenant: str, models: tuple[str, ...]) -> None:
        """Take a place, now or later; see `connection`."""
        if self._has_room(tenant, models):
            self._take(tenant, models)
            return
        if self._number_waiting[tenant] >= _MOST_WAITING:
            raise ReadersBusy("too many questions wait for a connection")
        future = asyncio.get_running_loop().create_future()
        kind = tenant, models
        self._waiting.setdefault(kind, deque()).append(future)
        self._number_waiting[tenant] += 1
        try:
            async with asyncio.timeout(self._wait_seconds):
                await future
        except TimeoutError as error:
            self._give_up(kind, future)
            raise ReadersBusy(f"no connection within {self._wait_seconds:g} s") from error
        except BaseException:
            self._give_up(kind, future)
            raise
        finally:
            _lower(self._number_waiting, tenant)

    def _give_up(self, kind: _Kind, future: asyncio.Future[None]) -> None:
        if future.done() and not future.cancelled() and future.exception() is None:
            self.leave(*kind)  # it had been given its place by then
        elif future in self._waiting.get(kind, ()):
            self._waiting[kind].remove(future)
            if not self._waiting[kind]:
                del self._waiting[kind]

    def leave(self, tenant: str, models: tuple[str, ...]) -> None:
        """Give a place back, to whatever waits for it."""
        self._total -= 1
        _lower(self._tenants, tenant)
        if models:
            self._about_models -= 1
            _lower(self._tenants_about_models, tenant)
            for model in models:
                _lower(self._models, model)
                _lower(self._kinds, (tenant, model))
        while self._waiting and self._give_next():
            pass

    def _has_room(self, tenant: str, models: Sequence[str]) -> bool:
        shares = self._shares
        if self._total >= shares.total or self._tenants[tenant] >= shares.tenant:
            return False
        if not models:
            return True
        if self._about_models >= shares.models or self._tenants_about_models[tenant] >= shares.tenant_of_models:
            return False
        for model in models:
            if self._models[model] >= shares.model or self._kinds[tenant, model] >= shares.tenant_of_model:
                return False
        return True

    def _take(self, tenant: str, models: Sequence[str]) -> None:
        self._total += 1
        self._tenants[tenant] += 1
        if models:
            self._about_models += 1
            self._tenants_about_models[tenant] += 1
            for model in models:
                self._models[model] += 1
                self._kinds[tenant, model] += 1

    def _give_next(self) -> bool:
        """Give a place to one that waits; return whether there was one that has room."""
        free = [kind for kind in self._waiting if self._has_room(*kind)]
        if not free:
            return False
        kind = min(free, key=lambda each: self._tenants[each[0]])
        waiting = self._waiting.pop(kind)
        while waiting:
            future = waiting.popleft()
            if not future.done():
                self._take(*kind)
                future.set_result(None)
                break
        if waiting:
            self._waiting[kind] = waiting  # behind the others
        return True


class _Lent:
    """A connection that is lent for the block."""

    __slots__ = ("_bulkheads", "_connection", "_models", "_tenant")

    def __init__(self, bulkheads: Bulkheads, tenant: str, models: tuple[str, ...]) -> None:
        self._bulkheads = bulkheads
        self._tenant = tenant
        self._models = models

    async def __aenter__(self) -> Connection:
        await self._bulkheads.enter(self._tenant, self._models)
        try:
            self._connection = self._bulkheads.pool.connection()
            connection: Connection = await self._connection.__aenter__()
        except BaseException:
            self._bulkheads.leave(self._tenant, self._models)
            raise
        return connection

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool | None:
        try:
            return await self._connection.__aexit__(kind, error, traceback)
        finally:
            self._bulkheads.leave(self._tenant, self._models)


def _lower(counter: Counter[Any], key: Any) -> None:
    """Lower a count, which goes when it is zero: tenants are many."""
    counter[key] -= 1
    if not counter[key]:
        del counter[key]
