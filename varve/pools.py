"""Connection pools, one for each database role that a process needs."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from psycopg_pool import AsyncConnectionPool

from varve.settings import DatabaseRole, Settings

# A session that hangs must never hold up others: the log's lock above all.
_SESSION = (
    "-c lock_timeout=5s -c idle_in_transaction_session_timeout=5s -c statement_timeout=30s "
    "-c client_connection_check_interval=1s"
)


@asynccontextmanager
async def open_pool(settings: Settings, role: DatabaseRole, size: int) -> AsyncIterator[AsyncConnectionPool[Any]]:
    """Open a pool of up to `size` connections in autocommit mode; it reconnects by itself."""
    pool: AsyncConnectionPool[Any] = AsyncConnectionPool(
        settings.role_url(role),
        min_size=1,
        max_size=size,
        timeout=10.0,
        kwargs={"autocommit": True, "options": _SESSION},
        open=False,
        name=role,
    )
    async with pool:
        yield pool
