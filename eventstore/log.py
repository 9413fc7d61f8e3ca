"""Reads the whole log in its one order, in bounded windows of positions."""

import asyncio
from bisect import bisect_right
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from operator import itemgetter
from typing import Any

import psycopg
from psycopg.rows import tuple_row

from domain.shared.events import Event
from eventstore.decoding import collection_put_off
from eventstore.errors import UnknownEventType
from eventstore.log_filter import (
    AT,
    DATA,
    EVERYTHING,
    IS_VOIDED,
    LARGE,
    METADATA,
    POSITION,
    SIZE,
    VERSION,
    LogFilter,
    Span,
    window_query,
)
from eventstore.mapper import EventTypes
from eventstore.records import RecordedEvent
from eventstore.thinning import Thinning

BEFORE_WINDOW = """
select (select epoch from varve.log_epochs order by number desc limit 1),
       (select coalesce(max(position), 0) from varve.events),
       set_config('transaction_timeout', '5s', true), set_config('plan_cache_mode', 'force_generic_plan', true),
       set_config('enable_seqscan', 'off', true), set_config('enable_bitmapscan', 'off', true)
"""
"""Asked in the same transaction as the window, before it and so in an older snapshot: all up to this head is visible.

A window's plan is made once for each session, maybe while the log is still small, and has to do for millions of events:
it may only use indexes, and these in their order.
"""

_DECODED_AT_ONCE = 500_000  # bytes, some milliseconds
_OCTETS = 4_000_000
_SPAN = 100_000


@dataclass(eq=False)
class UnknownEvent(UnknownEventType):
    """An event of the log has a type or class version that this code doesn't know; newer code wrote it.

    The reader decides: stop, go on after `position`, or try again when newer code is there. Events of other
    applications are never unknown ones: a `LogFilter` leaves them out.
    """

    position: int


@dataclass(eq=False)
class UndecodableEvent(ValueError):
    """An event of the log does not fit its class: this code's class is wrong, or the one that wrote it was."""

    tenant: str
    position: int
    stream: str | None
    topic: str

    def __str__(self) -> str:
        return f"the event at position {self.position} does not fit {self.topic}: {self.__cause__}"


@dataclass(frozen=True, slots=True)
class Window:
    """A stretch of the log: the events after some position, and the position that was scanned to."""

    events: Sequence[RecordedEvent]
    scanned_to: int
    is_full: bool
    """Whether the window ended before the log's head: more may follow at once."""
    epoch: str
    """The history of the log that the events belong to."""


@dataclass(frozen=True, slots=True)
class FetchedRows:
    """A window as it is stored."""

    rows: list[Any]
    scanned_to: int
    head: int
    epoch: str


class LogReader:
    """Decodes windows of the log; connections come from the caller, because roles differ.

    They are in autocommit mode, and of a role that sees all tenants.

    Args:
        event_types: what this code knows.
        octets: how many bytes of data and metadata a window has at the most, if it has more than one event.
        span: how many positions are looked at for a window, at the most.
    """

    def __init__(self, event_types: EventTypes, *, octets: int = _OCTETS, span: int = _SPAN) -> None:
        self._event_types = event_types
        self._octets = octets
        self._span = span

    def for_bulk(self, octets: int) -> "LogReader":
        """Return a reader of the same events whose windows may be larger."""
        return LogReader(self._event_types, octets=octets, span=self._span)

    @property
    def class_versions(self) -> Mapping[str, int]:
        """Return the topics that this code knows, and the newest class version of each."""
        return {event_class.TOPIC: event_class.class_version for event_class in self._event_types}

    async def window(
        self, connection: psycopg.AsyncConnection[Any], after: int, limit: int, wanted: LogFilter = EVERYTHING
    ) -> Window:
        """Return up to `limit` of the wanted events after the position `after`.

        It ends before an event that can't be decoded, unless that is the first one.

        Raises:
            UnknownEvent: newer code wrote the first of them.
            UndecodableEvent: the first of them does not fit its class. (Metadata are decoded when they are asked for.)
        """
        return await self.decode(await self.fetch(connection, after, limit, wanted))

    async def fetch(
        self, connection: psycopg.AsyncConnection[Any], after: int, limit: int, wanted: LogFilter = EVERYTHING
    ) -> FetchedRows:
        """Return the rows of a window for `decode`, which needs the connection no more."""
        span = Span(after, min(after + self._span, wanted.up_to), limit, self._octets)
        epoch, newest, rows = await _read(connection, *window_query(wanted, span))
        head = min(newest, wanted.up_to)
        last = rows[-1][POSITION] if rows else after
        scanned_to = last if len(rows) == limit else max(last, min(span.upto, head))
        if wanted.leaves_out_voided:
            rows = [row for row in rows if not row[IS_VOIDED]]
        if any(map(itemgetter(SIZE), rows)):
            fitting = rows[: _fitting(rows, self._octets)]
            if len(fitting) < len(rows):
                scanned_to = rows[len(fitting)][POSITION] - 1
            large = [row[POSITION] for row in fitting if row[SIZE]]
            epoch_of_large, _, found = await _read(connection, LARGE, {"positions": large})
            if (epoch_of_large, len(found)) != (epoch, len(large)):  # behind a pooler another server has taken over
                return await self.fetch(connection, after, limit, wanted)
            rows = _filled(fitting, found)
        return FetchedRows(rows, scanned_to, head, epoch)

    async def at(
        self, connection: psycopg.AsyncConnection[Any], positions: Sequence[int], wanted: LogFilter = EVERYTHING
    ) -> Sequence[RecordedEvent]:
        """Return the events at `positions`, which are few, in order; of `wanted` only voids are looked at.

        Raises:
            UnknownEvent, UndecodableEvent: as for `window`, for any of them.
        """
        cursor = connection.cursor(row_factory=tuple_row, binary=True)
        await cursor.execute(
            AT,
            {
                "positions": list(positions),
                "leaves_out_voided": wanted.leaves_out_voided,
                "voided_by": wanted.voided_by,
                "with_others": wanted.with_others,
            },
            prepare=True,
        )
        return self._decoded(await cursor.fetchall())

    async def decode(self, fetched: FetchedRows) -> Window:
        """Return the window; see `window` for what is raised."""
        rows = fetched.rows
        if sum([len(row[DATA]) for row in rows]) > _DECODED_AT_ONCE:
            # On a thread: the event loop has leases to renew.
            events = await asyncio.to_thread(_decode_known, rows, self._event_types.decode)
        else:
            events = _decode_known(rows, self._event_types.decode)
        is_cut = len(events) < len(rows)
        scanned_to = rows[len(events)][POSITION] - 1 if is_cut else fetched.scanned_to
        return Window(events, scanned_to, is_cut or scanned_to < fetched.head, fetched.epoch)

    def thinning(self, overwriting: Collection[type[Event]], skipped: Collection[int]) -> Thinning:
        """Return what decodes fetched rows, but for those that are overwritten, and `skipped` positions.

        It raises `UnknownEvent` and `UndecodableEvent`, for any of the rows that it decodes.
        """
        newest = {event_class.TOPIC: event_class.class_version for event_class in overwriting}
        return Thinning(newest, skipped, self._decoded)

    def _decoded(self, rows: Sequence[Any]) -> Sequence[RecordedEvent]:
        """Return all of `rows` as events, or raise what is wrong with one of them."""
        events: list[RecordedEvent] = []
        while len(events) < len(rows):
            events += _decode_known(rows[len(events) :], self._event_types.decode)
        return events


def decode_rows(rows: Sequence[Any], decode: Callable[[str, int, bytes], Event]) -> list[RecordedEvent]:
    """Return rows of the log, which begin with the columns of a window, as events."""
    events: list[RecordedEvent] = []
    try:
        _decode_rows(rows, decode, events)
    except UnknownEventType as error:
        error.version = rows[len(events)][VERSION]
        raise
    return events


def _decode_known(rows: Sequence[Any], decode: Callable[[str, int, bytes], Event]) -> list[RecordedEvent]:
    """Return the events up to the first that can't be decoded; raise what is wrong with it when it is the first."""
    events: list[RecordedEvent] = []
    try:
        _decode_rows(rows, decode, events)
    except UnknownEventType as error:
        if not events:
            raise UnknownEvent(error.topic, error.class_version, rows[0][POSITION]) from error
    except Exception as error:  # upcasters are code of many hands
        if not events:
            tenant, position, stream, _, topic, *_ = rows[0]
            raise UndecodableEvent(tenant, position, stream, topic) from error
    return events


def _decode_rows(rows: Sequence[Any], decode: Callable[[str, int, bytes], Event], events: list[RecordedEvent]) -> None:
    """Append the events of `rows` to `events`, up to one that can't be decoded."""
    with collection_put_off():
        for row in rows:
            tenant, position, stream, version, topic, class_version, data, metadata, recorded_at = row[:SIZE]
            event = decode(topic, class_version, data)
            # By position, not by name: this line runs a million times.
            events.append(RecordedEvent(tenant, position, stream, version, event, metadata, recorded_at))


async def _read(
    connection: psycopg.AsyncConnection[Any], query: str, parameters: Mapping[str, Any]
) -> tuple[str, int, list[Any]]:
    """Return the log's epoch, its head, and the rows that `query` gives after them in the same transaction."""
    async with connection.pipeline():
        before = await connection.execute(BEFORE_WINDOW, prepare=True)
        cursor = connection.cursor(row_factory=tuple_row, binary=True)
        await cursor.execute(query, parameters, prepare=True)
    epoch, head, *_ = await before.fetchone() or ("", 0)
    return epoch, head, await cursor.fetchall()


def _fitting(rows: Sequence[Any], octets: int) -> int:
    """Return how many rows, from the first on, have no more than `octets` together; one always fits."""
    sizes = (row[SIZE] or len(row[DATA]) + len(row[METADATA]) for row in rows)
    return max(1, bisect_right(list(accumulate(sizes)), octets))


def _filled(rows: Sequence[Any], found: Sequence[Any]) -> list[Any]:
    """Return `rows` with the bytes that they lack."""
    contents = {position: content for position, *content in found}
    return [(*row[:DATA], *contents[row[POSITION]], *row[METADATA + 1 :]) if row[SIZE] else row for row in rows]


async def head(connection: psycopg.AsyncConnection[Any]) -> int:
    """Return the position of the log's last event, 0 for an empty log."""
    cursor = await connection.execute("select coalesce(max(position), 0) from varve.events", prepare=True)
    row = await cursor.fetchone()
    return 0 if row is None else int(row[0])
