"""What `/health/ready` asks: whether PostgreSQL and Redis answer, and whether what is sent to them can be stored."""

import asyncio
import re
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import psycopg
from redis.asyncio import Redis
from redis.exceptions import RedisError

from eventstore.background import end
from eventstore.fault_log import FAULTS
from eventstore.faults import DependencyError, Fault, fault_of
from eventstore.sqlstates import CANNOT_STORE, OPERATOR
from projections.unknown_events import unknown_event
from varve.pools import connecting
from varve.settings import Settings
from workers.redis_faults import dependency_error

T = TypeVar("T")

_STORAGE_SECONDS = 60.0
"""For so long after a failure to store something, and nothing stored since, this process is not ready."""
_CONNECT_SECONDS = 5
_ANSWERS = "select varve.head(), pg_is_in_recovery()"
_FAILING = "select distinct error from varve.leases where failures > 0"
_STATE = re.compile(r"\((\w{5})\)$")


class NotReady(DependencyError):
    """A service that the process needs does not do its work."""


class PostgresHealth:
    """Asks on a connection of its own: the pool's may all be waiting. Safe to share between tasks."""

    def __init__(self, settings: Settings) -> None:
        self._url, self._options = connecting(settings, "varve_reader")
        self._connection: psycopg.AsyncConnection[Any] | None = None
        self._opening: asyncio.Task[psycopg.AsyncConnection[Any]] | None = None
        self._turn = asyncio.Lock()

    async def answers(self) -> None:
        """See that the server answers, and takes writes.

        Raises:
            NotReady: it doesn't; its kind says why.
        """
        ((_, is_in_recovery),) = await self._ask(_ANSWERS)
        if is_in_recovery:
            raise NotReady(Fault(OPERATOR, "read_only"), "the server is a replica: it was not promoted")

    async def stores(self) -> None:
        """See that neither this process nor a lane has just failed to store something.

        Raises:
            NotReady: one has; its kind says where and why.
        """
        kinds = set(FAULTS.not_stored(_STORAGE_SECONDS))
        for (error,) in await self._ask(_FAILING):
            found = _STATE.search(error or "")
            if found and found[1] in CANNOT_STORE:
                kinds.add(f"postgresql: {fault_of(psycopg.errors.lookup(found[1])()).kind}")
        if kinds:
            raise NotReady(Fault(OPERATOR, ", ".join(sorted(kinds))), "something could not be stored")

    async def close(self) -> None:
        """Close the connection; the next question opens another."""
        opening, self._opening = self._opening, None
        if opening is not None:
            await end(opening)
            if not opening.cancelled() and opening.exception() is None:
                await opening.result().close()
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.close()

    async def stands(self) -> str | None:
        """Return a sentence about the event that read models stand at because no running code knows it.

        Raises:
            NotReady: the server does not answer.
        """
        return await self._with_connection(unknown_event)

    async def _ask(self, statement: str) -> list[Any]:
        async def ask(connection: psycopg.AsyncConnection[Any]) -> list[Any]:
            return await (await connection.execute(statement.encode())).fetchall()

        return await self._with_connection(ask)

    async def _with_connection(self, work: Callable[[psycopg.AsyncConnection[Any]], Awaitable[T]]) -> T:
        async with self._turn:
            try:
                return await work(await self._opened())
            except psycopg.Error as error:
                await self.close()
                raise NotReady(fault_of(error), str(error)) from error
            except BaseException:
                if self._connection is not None:  # it may be in the middle of something
                    await self.close()
                raise

    async def _opened(self) -> psycopg.AsyncConnection[Any]:
        """Return the connection; one that takes longer to open than a question may is there for the next question."""
        if self._connection is None or self._connection.closed:
            if self._opening is None:
                self._opening = asyncio.create_task(self._connect(), name="health connection")
            self._connection = await asyncio.shield(self._opening)
            self._opening = None
        return self._connection

    async def _connect(self) -> psycopg.AsyncConnection[Any]:
        return await psycopg.AsyncConnection.connect(
            self._url, autocommit=True, connect_timeout=_CONNECT_SECONDS, **self._options
        )


async def redis_answers(client: Redis) -> None:
    """See that Redis answers.

    Raises:
        RedisFault: it doesn't; its kind says why.
    """
    try:
        await client.ping()
    except (RedisError, OSError) as error:
        raise dependency_error(error) from error
