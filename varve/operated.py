"""Shows the write side how projections stand, after every request that the log has: carried out or not yet."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

import psycopg
from psycopg_pool import AsyncConnectionPool, PoolTimeout

from commands.ports import Found, FoundAsOf, LogExtent
from domain.operations.events import OPERATOR_REQUESTS, AsOfDropped, AsOfRequested
from domain.operations.projection import evolve
from domain.shared.events import Event
from eventstore.epochs import read_epochs
from eventstore.errors import ForeignEpoch, InvalidPosition, StoreUnavailable
from eventstore.log import LogReader
from eventstore.log_filter import LogFilter
from eventstore.position import LogPosition, parse_position
from projections.definition import Connection
from projections.operated import carried_out_to, is_built_as_of, read_state

_TOPICS = frozenset(request.TOPIC for request in OPERATOR_REQUESTS)
_WINDOW = 1_000
_EXTENT = """
select varve.head(), (select recorded_at from varve.events where position > 0 order by position limit 1)
"""
_HAS_EVENTS = "select exists (select from varve.events where tenant = %s)"


class OperatedProjections:
    """The port `commands.ports.Operated`, over the connections of the write side.

    Generations, checkpoints and the log's head are read in one snapshot, and the reactor's checkpoint is committed with
    what its requests have changed. So the requests between that checkpoint and the head are exactly those that the
    state lacks, of whatever tenant.
    """

    def __init__(self, pool: AsyncConnectionPool[Any], reader: LogReader) -> None:
        self._pool = pool
        self._reader = reader

    async def projection(self, name: str, position: str | None = None) -> Found:
        async with self._connection() as connection:
            async with _snapshot(connection):
                state = await read_state(connection, name, position)
                done, head = await carried_out_to(connection), await _head(connection)
            for request in await self._waiting(connection, done, head):
                if not isinstance(request, AsOfRequested | AsOfDropped) and request.projection == name:
                    state = evolve(state, request)
            return Found(state, head)

    async def as_of(self, as_of_id: UUID) -> FoundAsOf:
        async with self._connection() as connection:
            async with _snapshot(connection):
                is_there = await is_built_as_of(connection, as_of_id)
                done, head = await carried_out_to(connection), await _head(connection)
            for request in await self._waiting(connection, done, head):
                if isinstance(request, AsOfRequested | AsOfDropped) and request.as_of_id == as_of_id:
                    is_there = isinstance(request, AsOfRequested)
            return FoundAsOf(is_there, head)

    async def extent(self, position: str | None = None) -> LogExtent:
        async with self._connection() as connection:
            epochs = await read_epochs(connection)
            head, began_at = await (await connection.execute(_EXTENT)).fetchone() or (0, None)
        try:
            number = 0 if position is None else parse_position(position, epochs)
        except (ForeignEpoch, InvalidPosition):
            number = None
        return LogExtent(head, str(LogPosition(epochs[-1].epoch, head)), began_at, number)

    async def has_events(self, tenant: str) -> bool:
        async with self._connection() as connection:
            (found,) = await (await connection.execute(_HAS_EVENTS, (tenant,))).fetchone() or (False,)
        return bool(found)

    async def _waiting(self, connection: Connection, after: int, upto: int) -> list[Any]:
        """Return the requests after one position and up to another, without those that were voided."""
        requests: list[Event] = []
        wanted = LogFilter(topics=_TOPICS, leaves_out_voided=True, up_to=upto)
        while after < upto:
            window = await self._reader.window(connection, after, _WINDOW, wanted)
            requests += [recorded.event for recorded in window.events]
            after = window.scanned_to
        return requests

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[Connection]:
        try:
            async with self._pool.connection() as connection:
                yield connection
        except (psycopg.OperationalError, psycopg.InterfaceError, PoolTimeout) as error:
            raise StoreUnavailable(str(error)) from error


@asynccontextmanager
async def _snapshot(connection: Connection) -> AsyncIterator[None]:
    async with connection.transaction():
        await connection.execute("set transaction isolation level repeatable read, read only")
        yield


async def _head(connection: Connection) -> int:
    (head,) = await (await connection.execute("select varve.head()")).fetchone() or (0,)
    return int(head)
