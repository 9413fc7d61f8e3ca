"""Connection pools, one for each database role that a process needs."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from psycopg_pool import AsyncConnectionPool

from eventstore.persistence import SESSION_OPTIONS
from varve.settings import DatabaseRole, Settings


@asynccontextmanager
async def open_pool(settings: Settings, role: DatabaseRole, size: int) -> AsyncIterator[AsyncConnectionPool[Any]]:
    """Open a pool of up to `size` connections in autocommit mode; it reconnects by itself."""
    pool: AsyncConnectionPool[Any] = AsyncConnectionPool(
        settings.role_url(role),
        min_size=1,
        max_size=size,
        timeout=10.0,
        kwargs={"autocommit": True, "options": SESSION_OPTIONS},
        open=False,
        name=role,
    )
    async with pool:
        yield pool
