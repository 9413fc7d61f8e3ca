"""Pipelines that end with their Sync, as PgBouncer needs them to, and transactions in them."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import psycopg
from psycopg.abc import PQGen
from psycopg.pq import PipelineStatus


class PipelineConnection(psycopg.AsyncConnection[Any]):
    """A connection whose pipelines send nothing after the Sync that ends them.

    psycopg adds a Flush, which the Sync has made superfluous. When PgBouncer has answered the Sync by then, it lends a
    session of the server for the Flush; nothing answers that, so the session stays lent until the client comes again,
    and some idle clients hold up all others. (`executemany` still adds one: it belongs into a transaction, whose end
    gives the session back.)
    """

    @property
    def is_in_pipeline(self) -> bool:
        """Whether a pipeline was begun and not ended: one that was cancelled at its end may leave it so."""
        return self._pipeline is not None or self.pgconn.pipeline_status != PipelineStatus.OFF

    @asynccontextmanager
    async def pipeline(self) -> AsyncIterator[psycopg.AsyncPipeline]:
        if self._pipeline is None:
            self._pipeline = _Pipeline(self)
        try:
            async with super().pipeline() as pipeline:
                yield pipeline
        except psycopg.DatabaseError as error:
            if type(error) is psycopg.DatabaseError and self.closed:
                # psycopg's own name for a connection that was lost at the pipeline's end; elsewhere it has this one.
                raise psycopg.OperationalError(str(error)) from error
            raise


class _Pipeline(psycopg.AsyncPipeline):
    def _exit_gen(self) -> PQGen[None]:
        try:
            self._enqueue_sync()
            yield from self._communicate_gen()
        finally:
            yield from self._fetch_gen(flush=False)


@asynccontextmanager
async def pipelined_transaction(connection: psycopg.AsyncConnection[Any]) -> AsyncIterator[None]:
    """Run a transaction whose statements wait for none before them: the client waits where it fetches, and at the end.

    psycopg's own `transaction()` waits after its BEGIN and before its COMMIT, in a pipeline too. The server leaves out
    what follows a statement that failed, the COMMIT with it; the error comes with the next fetch, or at the end.
    """
    try:
        async with connection.pipeline():
            await connection.execute("begin")
            yield
            await connection.execute("commit")
    except BaseException:
        with suppress(psycopg.Error):  # without a connection there is nothing to roll back
            await connection.rollback()
        raise
