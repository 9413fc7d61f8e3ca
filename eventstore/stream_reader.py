"""Reads streams as the reader role: row-level security holds the tenant, whatever the query forgets."""

from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg.rows import tuple_row
from psycopg_pool import AsyncConnectionPool, PoolTimeout

from eventstore.errors import StoreUnavailable
from eventstore.log import decode_rows
from eventstore.mapper import EventTypes
from eventstore.records import RecordedEvent

SET_TENANT = "select set_config('varve.tenant', %s, true)"

_HEAD = """
select (select epoch from varve.log_epochs order by number desc limit 1), varve.head()
"""
_STREAM = """
select tenant, position, stream, version, topic, class_version, data, metadata, recorded_at
from varve.events where tenant = (select varve.tenant()) and stream = %s order by version
"""


@dataclass(frozen=True, slots=True)
class StreamEvents:
    """All events of a stream, and the log's head before they were read."""

    events: list[RecordedEvent]
    position: int
    epoch: str


class TenantStreams:
    """Reads the streams of one tenant at a time."""

    def __init__(self, pool: AsyncConnectionPool[Any], event_types: EventTypes) -> None:
        self._pool = pool
        self._event_types = event_types

    async def stream(self, tenant: str, stream: str) -> StreamEvents:
        """Return the whole stream, empty when the tenant has none of that name.

        Raises:
            StoreUnavailable: the database can't be reached.
        """
        try:
            async with self._pool.connection() as connection:
                # The pipeline is one implicit transaction: the setting ends with it.
                async with connection.pipeline():
                    await connection.execute(SET_TENANT, (tenant,))
                    head = await connection.execute(_HEAD)
                    rows = connection.cursor(row_factory=tuple_row, binary=True)
                    await rows.execute(_STREAM, (stream,))
                epoch, position = await head.fetchone() or ("", 0)
                return StreamEvents(decode_rows(await rows.fetchall(), self._event_types.decode), position, epoch)
        except (psycopg.OperationalError, psycopg.InterfaceError, PoolTimeout) as error:
            raise StoreUnavailable(str(error)) from error
