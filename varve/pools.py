"""Connection pools, one for each database role that a process needs."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from psycopg_pool import AsyncConnectionPool

from eventstore.sessions import SESSION_OPTIONS
from varve.settings import DatabaseRole, Settings

# After this the pool waits for the next request instead of trying at ever longer intervals, and tries at once then.
_RECONNECT_SECONDS = 2.0

# Rows of a book take longer than any request; a worker that is stopped meanwhile loses its sessions at the takeover.
_LONGER: dict[DatabaseRole, str] = {"varve_projector": " -c statement_timeout=300s -c transaction_timeout=300s"}


@asynccontextmanager
async def open_pool(
    settings: Settings, role: DatabaseRole, size: int, application_name: str = "varve"
) -> AsyncIterator[AsyncConnectionPool[Any]]:
    """Open a pool of up to `size` connections in autocommit mode; it reconnects by itself.

    Args:
        settings: where the database is.
        role: who the connections are.
        size: the most connections.
        application_name: what PostgreSQL shows of them, 63 bytes at the most.
    """
    pool: AsyncConnectionPool[Any] = AsyncConnectionPool(
        settings.role_url(role),
        min_size=1,
        max_size=size,
        timeout=10.0,
        reconnect_timeout=_RECONNECT_SECONDS,
        kwargs={
            "autocommit": True,
            "options": SESSION_OPTIONS + _LONGER.get(role, ""),
            "application_name": application_name,
        },
        open=False,
        name=role,
    )
    async with pool:
        yield pool
