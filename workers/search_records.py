"""Keeps a sample of the searches that were answered, written in batches beside them and never in their way."""

import asyncio
import hashlib
import hmac
from collections import deque
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any, NamedTuple

import psycopg
from opentelemetry import metrics
from psycopg_pool import AsyncConnectionPool, PoolTimeout

from eventstore.fault_log import FAULTS
from queries.search.records import CompletedSearch

_meter = metrics.get_meter("varve.search")
_dropped_records = _meter.create_counter(
    "varve.search.records.dropped", unit="{record}", description="Records of searches that could not be kept."
)

_PAUSE_SECONDS = 2.0
_LAST_SECONDS = 1.0
_BATCH = 1000
_MOST_WAITING = 10_000
_NOTE = """
select varve.note_searches(%s::text[], %s::timestamptz[], %s::bytea[], %s::text[], %s::real[], %s::integer[],
                           %s::boolean[], %s::real)
"""


class _Record(NamedTuple):
    """The columns, in the order of the function's parameters."""

    tenant: str
    searched_at: datetime
    query_hash: bytes
    mode: str
    milliseconds: float
    hits: int
    is_cached: bool


class SampledSearches:
    """Takes note of a sample in memory, up to so many; it holds no connection, since queries hold it."""

    def __init__(
        self,
        rate: float,
        *,
        key: bytes,
        now: Callable[[], datetime],
        chance: Callable[[], float],
        most: int = _MOST_WAITING,
    ) -> None:
        """Take the rate, 0 to 1, and where time and chance come from.

        Args:
            rate: the part of the searches that is kept.
            key: of the hashes, this installation's own.
            now: the time, with its zone.
            chance: evenly from 0 to 1, 1 excluded.
            most: how many wait to be written; further ones are dropped, and counted.
        """
        self.rate = rate
        self._key = key
        self._now = now
        self._chance = chance
        self._most = most
        self._waiting: deque[_Record] = deque()

    def note(self, search: CompletedSearch) -> None:
        """Keep the search for the next batch, if it is in the sample and there is room."""
        if self._chance() >= self.rate:
            return
        if len(self._waiting) >= self._most:
            _dropped_records.add(1)
            return
        query, milliseconds = search.query, search.seconds * 1000
        digest = hmac.digest(self._key, f"{search.tenant}\n{query.model_dump_json()}".encode(), hashlib.sha256)
        record = _Record(search.tenant, self._now(), digest, query.mode, milliseconds, search.hits, search.is_cached)
        self._waiting.append(record)

    def take(self, most: int) -> Sequence[_Record]:
        """Return the oldest ones that wait, which wait no more."""
        return [self._waiting.popleft() for _ in range(min(most, len(self._waiting)))]


class SearchRecordWriter:
    """Writes what was noted, every other second; what can't be written then is dropped, and counted."""

    def __init__(self, searches: SampledSearches, pool: AsyncConnectionPool[Any]) -> None:
        """Take what notes, and a pool of the writer, which may do no more here than call one function."""
        self._searches = searches
        self._pool = pool

    async def run(self) -> None:
        """Write until cancelled, then once more."""
        try:
            while True:
                await asyncio.sleep(_PAUSE_SECONDS)
                await self.write()
        finally:
            async with asyncio.timeout(_LAST_SECONDS):
                await self.write()

    async def write(self) -> None:
        """Write all that waits."""
        while records := self._searches.take(_BATCH):
            try:
                async with self._pool.connection() as connection:
                    await connection.execute(_NOTE, (*map(list, zip(*records, strict=True)), self._searches.rate))
            except (psycopg.Error, PoolTimeout) as error:
                _dropped_records.add(len(records))
                FAULTS.note("search_records.dropped", error, records=len(records))
