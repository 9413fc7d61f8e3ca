"""How many events a second are read from the log in order, as objects and as what a driver gives."""

import asyncio
import time
from collections.abc import Callable
from typing import Any

import orjson
import psycopg
from psycopg.rows import tuple_row

from benchmarks.appends.made_up import USER, MadeUp
from benchmarks.appends.measured import Bench, Contender, Slice, Target
from eventstore.append import Appender, open_appender
from eventstore.log import LogReader, Window
from eventstore.mapper import PydanticMapper
from varve.bootstrap import event_types
from varve.settings import Settings

_EVENTS = 20_000
_APPENDED_AT_ONCE = 500
_WINDOW = 1_000
_ROWS = """
select tenant, position, stream, version, topic, class_version, data, metadata, recorded_at
from varve.events where position > %s order by position limit %s
"""


async def reading(bench: Bench) -> list[dict[str, Any]]:
    """The whole log in windows of 1,000, decoded to event objects; and the same rows with their JSON parsed.

    Metadata are decoded when they are asked for: once nobody asks, as most readers, and once for each event.
    """
    with bench.server.database() as settings:
        await _fill(settings)
        url = settings.role_url("varve_projector")
        async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
            contenders = [
                Contender("select and orjson", lambda seconds: _read_rows(connection, seconds)),
                Contender("event objects", lambda seconds: _read_events(connection, seconds, _count)),
                Contender("event objects and metadata", lambda seconds: _read_events(connection, seconds, _ask_all)),
            ]
            targets = [Target(each.name, "select and orjson", "≥", 0.5) for each in contenders[1:]]
            return await bench.measure("read", contenders, targets)


async def _fill(settings: Settings) -> None:
    made_up = MadeUp()
    mapper = PydanticMapper(event_types())
    async with open_appender(settings.role_url("varve_writer"), mapper) as appender:
        for _ in range(_EVENTS // _APPENDED_AT_ONCE):
            await _append_some(appender, made_up)


async def _append_some(appender: Appender, made_up: MadeUp) -> None:
    # Each by a command of its own: events that share one would share their metadata too.
    async with asyncio.TaskGroup() as group:
        for _ in range(_APPENDED_AT_ONCE):
            group.create_task(appender.append(made_up.from_domain_event()))


async def _read_rows(connection: psycopg.AsyncConnection[Any], seconds: float) -> Slice:
    cursor = connection.cursor(row_factory=tuple_row, binary=True)
    started = time.perf_counter()
    count = position = 0
    while time.perf_counter() - started < seconds:
        await cursor.execute(_ROWS, (position, _WINDOW), prepare=True)
        rows = await cursor.fetchall()
        for row in rows:
            orjson.loads(row[6])
            orjson.loads(row[7])
        count += len(rows)
        position = rows[-1][1] if len(rows) == _WINDOW else 0
    return Slice(count / (time.perf_counter() - started))


async def _read_events(
    connection: psycopg.AsyncConnection[Any], seconds: float, count_events: Callable[[Window], int]
) -> Slice:
    reader = LogReader(event_types())
    started = time.perf_counter()
    count = position = 0
    while time.perf_counter() - started < seconds:
        window = await reader.window(connection, position, _WINDOW)
        count += count_events(window)
        position = window.scanned_to if window.is_full else 0
    return Slice(count / (time.perf_counter() - started))


def _count(window: Window) -> int:
    return len(window.events)


def _ask_all(window: Window) -> int:
    return sum(event.metadata.actor == USER for event in window.events)
