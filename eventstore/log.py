"""Reads the whole log in its one order, in bounded windows of positions."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg.rows import tuple_row

from domain.shared.events import Event
from eventstore.errors import UnknownEventType
from eventstore.log_filter import EVERYTHING, LogFilter, Span, window_query
from eventstore.mapper import EventTypes
from eventstore.records import EventMetadata, RecordedEvent

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

_POSITION, _DATA, _IS_VOIDED = 1, 6, 9  # columns of a window
_DECODED_AT_ONCE = 500_000  # bytes, some milliseconds
_OCTETS = 4_000_000
_SPAN = 100_000


@dataclass(eq=False)
class UnknownEvent(UnknownEventType):
    """An event of the log has a type or class version that this code doesn't know; newer code wrote it.

    Whoever reads the log decides: stop, go on after `position`, or try again when newer code is there.
    """

    position: int


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

    async def window(
        self, connection: psycopg.AsyncConnection[Any], after: int, limit: int, wanted: LogFilter = EVERYTHING
    ) -> Window:
        """Return up to `limit` of the wanted events after the position `after`.

        It ends before an event that can't be decoded, unless that is the first one.

        Raises:
            UnknownEvent: newer code wrote the first of them.
            ValidationError: the first of them does not fit its class.
        """
        return await self.decode(await self.fetch(connection, after, limit, wanted))

    async def fetch(
        self, connection: psycopg.AsyncConnection[Any], after: int, limit: int, wanted: LogFilter = EVERYTHING
    ) -> FetchedRows:
        """Return the rows of a window for `decode`, which needs the connection no more."""
        span = Span(after, after + self._span, limit, self._octets)
        query, parameters = window_query(wanted, span)
        async with connection.pipeline():
            before = await connection.execute(BEFORE_WINDOW, prepare=True)
            cursor = connection.cursor(row_factory=tuple_row, binary=True)
            await cursor.execute(query, parameters, prepare=True)
        epoch, head, *_ = await before.fetchone() or ("", 0)
        rows = await cursor.fetchall()
        last = rows[-1][_POSITION] if rows else after
        if rows and rows[-1][_DATA] is None:
            rows.pop()
            scanned_to = last - 1
        elif len(rows) == limit:
            scanned_to = last
        else:
            scanned_to = max(last, min(span.upto, head))
        return FetchedRows([row[:_IS_VOIDED] for row in rows if not row[_IS_VOIDED]], scanned_to, head, epoch)

    async def decode(self, fetched: FetchedRows) -> Window:
        """Return the window; see `window` for what is raised."""
        rows = fetched.rows
        if sum(len(row[_DATA]) for row in rows) > _DECODED_AT_ONCE:
            # On a thread: the event loop has leases to renew.
            events = await asyncio.to_thread(_decode_known, rows, self._event_types.decode)
        else:
            events = _decode_known(rows, self._event_types.decode)
        is_cut = len(events) < len(rows)
        scanned_to = rows[len(events)][_POSITION] - 1 if is_cut else fetched.scanned_to
        return Window(events, scanned_to, is_cut or scanned_to < fetched.head, fetched.epoch)


def decode_rows(rows: Sequence[Any], decode: Callable[[str, int, bytes], Event]) -> list[RecordedEvent]:
    """Return rows of the log, in the order of the window's columns, as events."""
    return [_decode_row(row, decode) for row in rows]


def _decode_known(rows: Sequence[Any], decode: Callable[[str, int, bytes], Event]) -> list[RecordedEvent]:
    """Return the events up to the first that can't be decoded; raise what is wrong with it when it is the first."""
    events: list[RecordedEvent] = []
    for row in rows:
        try:
            events.append(_decode_row(row, decode))
        except (UnknownEventType, ValueError) as error:
            if events:
                break
            if isinstance(error, UnknownEventType):
                raise UnknownEvent(error.topic, error.class_version, row[_POSITION]) from error
            raise
    return events


def _decode_row(row: Any, decode: Callable[[str, int, bytes], Event]) -> RecordedEvent:
    tenant, position, stream, version, topic, class_version, data, metadata, recorded_at = row
    return RecordedEvent(
        tenant=tenant,
        position=position,
        stream=stream,
        version=version,
        event=decode(topic, class_version, data),
        metadata=EventMetadata.model_validate_json(metadata),
        recorded_at=recorded_at,
    )


async def head(connection: psycopg.AsyncConnection[Any]) -> int:
    """Return the position of the log's last event, 0 for an empty log."""
    cursor = await connection.execute("select coalesce(max(position), 0) from varve.events", prepare=True)
    row = await cursor.fetchone()
    return 0 if row is None else int(row[0])
