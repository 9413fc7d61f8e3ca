"""Tells an event that alone is too much for the server from a server that can do no more."""

from collections.abc import Sequence
from typing import Any

import structlog
from psycopg_pool import AsyncConnectionPool

from eventstore.records import RecordedEvent
from projections.definition import Generation, Projection
from projections.preparation import prepared_by

log = structlog.get_logger()

_MOST_TRIED = 10


async def passes(
    pool: AsyncConnectionPool[Any], projection: Projection, tables: Generation, events: Sequence[RecordedEvent]
) -> bool:
    """Return whether the first of `events` can be applied now; nothing of it is kept. False when there is none."""
    some = events[:_MOST_TRIED]
    if not some:
        return False
    try:
        prepared = await prepared_by(projection, pool, tables, some)
        async with pool.connection() as connection, connection.transaction(force_rollback=True):
            await projection.apply(connection, tables, some, prepared)
    except Exception as error:  # noqa: BLE001 - whatever it is, these events do not pass either
        log.debug("event.tried_beside", projection=projection.NAME, error=str(error))
        return False
    return True
