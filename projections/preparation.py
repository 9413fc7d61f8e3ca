"""Has a projection fetch and work out what it needs to apply a batch, before the batch's transaction."""

from collections.abc import Sequence
from typing import Any

from psycopg_pool import AsyncConnectionPool

from eventstore.records import RecordedEvent
from projections.definition import Generation, Projection


async def prepared_by(
    projection: Projection, pool: AsyncConnectionPool[Any], tables: Generation, events: Sequence[RecordedEvent]
) -> Any:
    """Return what `apply` is given for `events`; no connection is held while it is worked out.

    Raises:
        NotReadyError, BatchTooLargeError: as for `Projection.prepare`.
    """
    async with pool.connection() as connection:
        fetched = await projection.prepare(connection, tables, events)
    return await projection.work_out(tables, fetched, pool.connection)
