"""Clears away what has served its time: idempotency keys, records of searches, and uploads that never ended."""

import asyncio
from datetime import UTC, datetime
from typing import Any

import psycopg
from psycopg_pool import AsyncConnectionPool

from eventstore.fault_log import FAULTS
from workers.blobs import Blobs

_PAUSE_SECONDS = 600.0
_SLICE = 1000
_BEGINNING = datetime.min.replace(tzinfo=UTC)

# By the rows' places: a plan that knows the table as it was would compare each key with all of the others. From where
# the last look ended: while somebody holds a snapshot, what was deleted before is still in the way.
_EXPIRED = """
delete from varve.idempotency where ctid = any (array(
    select ctid from varve.idempotency where expires_at between %s and clock_timestamp() order by expires_at limit %s
)) and expires_at < clock_timestamp()  -- asked again: the place may be another row's by now
returning expires_at
"""
_OLD_SEARCHES = """
delete from varve.search_records where (tenant, id) in (
    select tenant, id from varve.search_records
    where searched_at < clock_timestamp() - make_interval(days => %s) order by searched_at limit %s
)
"""
_LOOKS_FROM_WHERE_THE_LAST_ENDED = 100
"""After these everything is looked through: a key may have come in behind."""
# Steps from tenant to tenant along the primary key: the log is long, and tenants are few.
_TENANTS = """
with recursive each as (
    (select tenant from varve.events order by tenant limit 1)
    union all
    select (select e.tenant from varve.events e where e.tenant > each.tenant order by e.tenant limit 1)
    from each where each.tenant is not null
)
select tenant from each where tenant is not null
"""


class Housekeeping:
    """Runs beside other work; whatever it does may be done twice, or later."""

    def __init__(self, pool: AsyncConnectionPool[Any], blobs: Blobs, search_record_days: int) -> None:
        self._pool = pool
        self._blobs = blobs
        self._search_record_days = search_record_days
        self._looks = 0
        self._cleared_to = _BEGINNING

    async def run(self) -> None:
        """Clear away every ten minutes until cancelled."""
        while True:
            try:
                await self.clear_once()
            except Exception as error:  # noqa: BLE001 - what is not cleared now is cleared later; nothing else may end
                FAULTS.note("housekeeping.failed", error)
            await asyncio.sleep(_PAUSE_SECONDS)

    async def clear_once(self) -> None:
        """Delete expired keys and old records in small slices, and abandoned uploads of every tenant."""
        async with self._pool.connection() as connection:
            await self._clear_keys(connection)
            await self._clear_searches(connection)
            tenants = [row[0] for row in await (await connection.execute(_TENANTS)).fetchall()]
        for tenant in tenants:
            await self._blobs.remove_abandoned(tenant)

    async def _clear_keys(self, connection: psycopg.AsyncConnection[Any]) -> None:
        if self._looks % _LOOKS_FROM_WHERE_THE_LAST_ENDED == 0:
            self._cleared_to = _BEGINNING
        self._looks += 1
        cleared = _SLICE
        while cleared == _SLICE:
            cursor = await connection.execute(_EXPIRED, (self._cleared_to, _SLICE))
            expired = [expires_at for (expires_at,) in await cursor.fetchall()]
            self._cleared_to = max(expired, default=self._cleared_to)
            cleared = len(expired)

    async def _clear_searches(self, connection: psycopg.AsyncConnection[Any]) -> None:
        cleared = _SLICE
        while cleared == _SLICE:
            cleared = (await connection.execute(_OLD_SEARCHES, (self._search_record_days, _SLICE))).rowcount
