"""Reads the whole log in its one order, in bounded windows of positions."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg.rows import tuple_row

from domain.shared.events import Event
from eventstore.mapper import EventTypes
from eventstore.records import EventMetadata, RecordedEvent

_WINDOW = """
select tenant, position, stream, version, topic, class_version, data, metadata, recorded_at
from varve.events where position > %s order by position limit %s
"""

_DATA = 6  # the column `data` of a window
_DECODED_AT_ONCE = 500_000  # bytes, some milliseconds


@dataclass(frozen=True, slots=True)
class Window:
    """A stretch of the log: the events after some position, and the position that was scanned to."""

    events: Sequence[RecordedEvent]
    scanned_to: int
    is_full: bool
    """Whether the window ended by its size: more may follow at once."""


class LogReader:
    """Decodes windows of the log; connections come from the caller, because roles differ."""

    def __init__(self, event_types: EventTypes) -> None:
        self._event_types = event_types

    async def window(self, connection: psycopg.AsyncConnection[Any], after: int, limit: int) -> Window:
        """Return up to `limit` events after the position `after`.

        Raises:
            UnknownEventType: newer code wrote an event in it.
        """
        cursor = connection.cursor(row_factory=tuple_row, binary=True)
        await cursor.execute(_WINDOW, (after, limit), prepare=True)
        rows = await cursor.fetchall()
        if sum(len(row[_DATA]) for row in rows) > _DECODED_AT_ONCE:
            # On a thread: the event loop has leases to renew.
            events = await asyncio.to_thread(decode_rows, rows, self._event_types.decode)
        else:
            events = decode_rows(rows, self._event_types.decode)
        return Window(events, events[-1].position if events else after, len(rows) == limit)


def decode_rows(rows: Sequence[Any], decode: Callable[[str, int, bytes], Event]) -> list[RecordedEvent]:
    """Return rows of the log, in the order of the window's columns, as events."""
    return [
        RecordedEvent(
            tenant=tenant,
            position=position,
            stream=stream,
            version=version,
            event=decode(topic, class_version, data),
            metadata=EventMetadata.model_validate_json(metadata),
            recorded_at=recorded_at,
        )
        for tenant, position, stream, version, topic, class_version, data, metadata, recorded_at in rows
    ]


async def head(connection: psycopg.AsyncConnection[Any]) -> int:
    """Return the position of the log's last event, 0 for an empty log."""
    cursor = await connection.execute("select coalesce(max(position), 0) from varve.events", prepare=True)
    row = await cursor.fetchone()
    return 0 if row is None else int(row[0])
