"""Connections whose pipelines end with their Sync, as PgBouncer needs them to."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import psycopg
from psycopg.abc import PQGen


class PipelineConnection(psycopg.AsyncConnection[Any]):
    """A connection whose pipelines send nothing after the Sync that ends them.

    psycopg adds a Flush, which the Sync has made superfluous. When PgBouncer has answered the Sync by then, it lends a
    session of the server for the Flush; nothing answers that, so the session stays lent until the client comes again,
    and some idle clients hold up all others. (`executemany` still adds one: it belongs into a transaction, whose end
    gives the session back.)
    """

    @asynccontextmanager
    async def pipeline(self) -> AsyncIterator[psycopg.AsyncPipeline]:
        if self._pipeline is None:
            self._pipeline = _Pipeline(self)
        async with super().pipeline() as pipeline:
            yield pipeline


class _Pipeline(psycopg.AsyncPipeline):
    def _exit_gen(self) -> PQGen[None]:
        try:
            self._enqueue_sync()
            yield from self._communicate_gen()
        finally:
            yield from self._fetch_gen(flush=False)
