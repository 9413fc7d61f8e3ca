"""Reads streams window by window as the reader role: row-level security holds the tenant, whatever a query forgets."""

import asyncio
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, LiteralString

import psycopg
from psycopg.rows import tuple_row
from psycopg_pool import AsyncConnectionPool

from domain.shared.events import Event
from eventstore.applications import is_ours, written_by
from eventstore.bulkheads import Bulkheads
from eventstore.faults import raise_unavailable
from eventstore.log import decode_rows
from eventstore.log_filter import DATA, VERSION
from eventstore.mapper import EventTypes
from eventstore.records import RecordedEvent
from eventstore.shown import ShownEvent, shown

_LOG = ("log",)
"""What bulkheads know streams as, beside read models."""
SET_TENANT = "select set_config('varve.tenant', %s, true)"

BEFORE_FIRST = -1
"""The version before any: a stream begins with version 0 or 1."""

# One statement has one snapshot: the last version is the one that the stream has at the head.
_OPEN = """
select (select epoch from varve.log_epochs order by number desc limit 1), varve.head(),
       coalesce((select version from varve.events where tenant = (select varve.tenant()) and stream = %(stream)s
                 order by version desc limit 1), -1)
"""
_IS_OURS = is_ours("tags")
_WINDOW = f"""
select tenant, position, stream, version, topic, class_version, data, metadata, recorded_at,
       {written_by("tags")} as application
from (select counted.*, sum(octet_length(data)) over (order by version) - octet_length(data) as bytes_before
      from (select * from varve.events
            where tenant = (select varve.tenant()) and stream = %(stream)s
              and version > %(after)s and version <= %(through)s and (%(with_others)s or {_IS_OURS})
            order by version limit %(limit)s) counted) measured
where bytes_before < %(bytes)s order by version
"""
_LATEST = f"""
select tenant, position, stream, version, topic, class_version, data, metadata, recorded_at
from varve.events
where tenant = (select varve.tenant()) and stream = %(stream)s and version <= %(through)s and topic = any (%(topics)s)
  and {_IS_OURS}
  and not exists (select from varve.voided v where v.tenant = (select varve.tenant()) and v.position = events.position)
order by version desc limit 1
"""
_VOIDED = """
select version from varve.voided
where tenant = (select varve.tenant()) and stream = %(stream)s and voided_version <= %(through)s
union all
select voided_version from varve.voided
where tenant = (select varve.tenant()) and stream = %(stream)s and voided_version <= %(through)s
"""
_VERSION_AT = """
select version from varve.events
where tenant = (select varve.tenant()) and stream = %(stream)s and version <= %(through)s and recorded_at <= %(moment)s
order by version desc limit 1
"""

_WINDOW_EVENTS = 200  # some milliseconds of work between two looks at other requests
_WINDOW_BYTES = 8_000_000
_DECODED_AT_ONCE = 500_000  # bytes, some milliseconds


class TenantStreams:
    """Reads the streams of one tenant at a time; what another application wrote is shown, and nothing else of it."""

    def __init__(
        self, pool: AsyncConnectionPool[Any], event_types: EventTypes, bulkheads: Bulkheads | None = None
    ) -> None:
        """Take a pool of the reader, and its `bulkheads`, if others ask on it as well."""
        self._bulkheads = bulkheads or Bulkheads(pool)
        self._event_types = event_types

    async def stream(self, tenant: str, stream: str) -> "StreamEvents":
        """Return the stream as it is now, without events when the tenant has none of that name.

        Raises:
            StoreUnavailable: the database can't be reached.
        """
        reads = _TenantReads(self._bulkheads, tenant)
        ((epoch, position, last_version),) = await reads.rows(_OPEN, {"stream": stream})
        return StreamEvents(stream, position, epoch, last_version, reads, self._event_types)


@dataclass(frozen=True, slots=True)
class _TenantReads:
    bulkheads: Bulkheads
    tenant: str

    async def rows(self, statement: LiteralString, *parameters: Mapping[str, object]) -> list[Any]:
        """Return the rows that `statement` gives for each of `parameters`, in one round trip."""
        try:
            async with self.bulkheads.connection(self.tenant, _LOG) as connection:
                cursors = []
                # The pipeline is one implicit transaction: the setting ends with it.
                async with connection.pipeline():
                    await connection.execute(SET_TENANT, (self.tenant,))
                    for each in parameters:
                        cursor = connection.cursor(row_factory=tuple_row, binary=True)
                        cursors.append(await cursor.execute(statement, each))
                return [row for cursor in cursors for row in await cursor.fetchall()]
        except psycopg.Error as error:
            raise_unavailable(error)
            raise


@dataclass(frozen=True, slots=True)
class StreamEvents:
    """The events that a stream has at one position of the log: what is appended later is not among them.

    Nothing is held open between two reads: the log only grows, so its past stays as it was.

    Attributes:
        stream: its name.
        position: the log's head when the stream was opened.
        epoch: the history of the log that the position belongs to.
        last_version: the last event's, `BEFORE_FIRST` when there is none.
    """

    stream: str
    position: int
    epoch: str
    last_version: int
    _reads: _TenantReads
    _event_types: EventTypes

    async def window(
        self, after: int = BEFORE_FIRST, limit: int = _WINDOW_EVENTS, through: int | None = None
    ) -> list[RecordedEvent]:
        """Return events in order: up to `limit`, fewer but at least one when they are long, none at the end.

        Args:
            after: the version to begin after.
            limit: how many at the most.
            through: the version to end with, the last one when none is given.

        Raises:
            StoreUnavailable: the database can't be reached.
            UnknownEventType: newer code wrote one of them; `version` says which.
        """
        return await self._decoded(await self._rows(after, limit, through, with_others=False))

    async def shown(
        self, after: int = BEFORE_FIRST, limit: int = _WINDOW_EVENTS, *, with_others: bool = False
    ) -> list[ShownEvent]:
        """Return a window for people, which also has what this code can't decode.

        Args:
            after: the version to begin after.
            limit: how many at the most.
            with_others: whether events that another application wrote are wanted, too.

        Raises:
            StoreUnavailable: the database can't be reached.
        """
        rows = await self._rows(after, limit, None, with_others=with_others)

        def decoded() -> list[ShownEvent]:
            return [shown(row, row[-1], self._event_types) for row in rows]

        return await asyncio.to_thread(decoded) if _are_many(rows) else decoded()

    async def events(
        self, through: int | None = None, but: Collection[int] = frozenset()
    ) -> AsyncIterator[RecordedEvent]:
        """Yield the events up to the version `through` in order, holding no more than a window of them.

        Args:
            through: the version to end with, the last one when none is given.
            but: versions to leave out, which are not even decoded: this code may not know them.

        Raises:
            StoreUnavailable: the database can't be reached.
            UnknownEventType: newer code wrote one of them; `version` says which.
        """
        after, end = BEFORE_FIRST, self._at_most(through)
        while after < end and (rows := await self._rows(after, _WINDOW_EVENTS, end, with_others=False)):
            for recorded in await self._decoded([row for row in rows if row[VERSION] not in but]):
                yield recorded
            after = rows[-1][VERSION]

    async def latest(self, *kinds: Collection[type[Event]]) -> list[RecordedEvent]:
        """Return the last event of each of `kinds`, in the stream's order; one that is the last of two comes once.

        Voided events are left out.

        Raises:
            StoreUnavailable: the database can't be reached.
        """
        wanted = [
            {
                "stream": self.stream,
                "through": self.last_version,
                "topics": [event_class.TOPIC for event_class in event_classes],
            }
            for event_classes in kinds
        ]
        found = await self._decoded(await self._reads.rows(_LATEST, *wanted))
        by_version = {recorded.version: recorded for recorded in found}
        return [by_version[version] for version in sorted(by_version)]

    async def voided(self, through: int | None = None) -> frozenset[int]:
        """Return the versions that a fold up to `through` leaves out: voided events, and those that void them.

        Raises:
            StoreUnavailable: the database can't be reached.
        """
        rows = await self._reads.rows(_VOIDED, {"stream": self.stream, "through": self._at_most(through)})
        return frozenset(version for (version,) in rows)

    async def version_at(self, moment: datetime) -> int:
        """Return the version that the stream had at `moment`, `BEFORE_FIRST` when it did not exist yet.

        Raises:
            StoreUnavailable: the database can't be reached.
        """
        wanted = {"stream": self.stream, "through": self.last_version, "moment": moment}
        rows = await self._reads.rows(_VERSION_AT, wanted)
        return rows[0][0] if rows else BEFORE_FIRST

    def _at_most(self, version: int | None) -> int:
        return self.last_version if version is None else min(version, self.last_version)

    async def _rows(self, after: int, limit: int, through: int | None, *, with_others: bool) -> list[Any]:
        bounds = {"after": after, "limit": limit, "bytes": _WINDOW_BYTES, "through": self._at_most(through)}
        return await self._reads.rows(_WINDOW, {"stream": self.stream, "with_others": with_others, **bounds})

    async def _decoded(self, rows: Sequence[Any]) -> list[RecordedEvent]:
        if _are_many(rows):
            # On a thread: the event loop has other requests to answer.
            return await asyncio.to_thread(decode_rows, rows, self._event_types.decode)
        return decode_rows(rows, self._event_types.decode)


def _are_many(rows: Sequence[Any]) -> bool:
    """Whether to decode the rows takes more than some milliseconds."""
    return sum(len(row[DATA]) for row in rows) > _DECODED_AT_ONCE
