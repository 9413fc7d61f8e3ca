"""Whether a log of ten million events is appended to and followed as fast as one of a hundred thousand."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

import psycopg
from psycopg.conninfo import conninfo_to_dict

from benchmarks.appends import made_up
from benchmarks.appends.callers import tasks
from benchmarks.appends.measured import Bench, Slice
from eventstore.append import Appender
from eventstore.batch_appender import BatchAppender, open_batch_appender
from eventstore.log import LogReader, head
from eventstore.mapper import PydanticMapper
from varve.bootstrap import event_types
from varve.embedded import PostgresTuning
from varve.settings import Settings

_FILL = Path(__file__).parent / "fill_log.sql"
_FILLED_AT_ONCE = 250_000
_CALLERS = 32
_WINDOW = 1_000
_POLL_SECONDS = 0.005
_WARM_UP_SECONDS, _LARGE_SECONDS, _SMALL_SECONDS = 2.0, 20.0, 5.0
_MOST_TIME = 1.2
_KINDS = ("events", "commands")
TUNING = PostgresTuning(shared_buffers="2GB")
_CHECKPOINTS = "select num_timed + num_requested from pg_stat_checkpointer"


@dataclass(frozen=True, slots=True)
class Sizes:
    """How many events the two logs begin with, and for how long the large one is appended to."""

    large: int = 10_000_000
    small: int = 100_000
    minutes: float = 10.0

    @property
    def both(self) -> tuple[int, int]:
        return self.small, self.large


async def large(bench: Bench, sizes: Sizes) -> list[dict[str, Any]]:
    """Events alone and whole commands, of 32 callers in turns, and a reader that follows them.

    A slice ends when the reader has everything. Each slice of the small log begins with a new copy, since it would not
    stay small.
    """
    rounds = max(2 * bench.rounds, round(sizes.minutes * 60 / _LARGE_SECONDS))
    between = max(1, rounds // (2 * bench.rounds))
    slices: dict[tuple[str, int], list[Slice]] = {(kind, size): [] for kind in _KINDS for size in sizes.both}
    with ExitStack() as stack:
        template = stack.enter_context(bench.server.database())
        _tune(template)
        _fill(template, sizes.small)
        name = str(conninfo_to_dict(template.required_database_url())["dbname"])
        copies = [stack.enter_context(bench.server.database(name)) for _ in range(2 * bench.rounds)]
        settings = stack.enter_context(bench.server.database())
        _fill(settings, sizes.large)
        checkpoints = _checkpoints(settings)
        async with _opened(settings) as log:
            await log.append_and_follow("commands", _WARM_UP_SECONDS)
            for number in range(rounds):
                kind = _KINDS[number % 2]
                slices[kind, sizes.large].append(await log.append_and_follow(kind, _LARGE_SECONDS))
                if number % between == 0 and copies:
                    kind = _KINDS[len(copies) % 2]
                    async with _opened(copies.pop()) as small_log:
                        await small_log.append_and_follow(kind, _WARM_UP_SECONDS)
                        slices[kind, sizes.small].append(await small_log.append_and_follow(kind, _SMALL_SECONDS))
        checkpoints = _checkpoints(settings) - checkpoints
    return [
        *(_figure(kind, size, found) | {"checkpoints": checkpoints} for (kind, size), found in slices.items()),
        *(_compared(kind, sizes, slices[kind, sizes.small], slices[kind, sizes.large]) for kind in _KINDS),
    ]


def _compared(kind: str, sizes: Sizes, in_small: list[Slice], in_large: list[Slice]) -> dict[str, Any]:
    ratio = median(each.per_second for each in in_small) / median(each.per_second for each in in_large)
    return {
        "row": "large",
        "what": f"{kind}: time of an event at {sizes.large:,} / at {sizes.small:,}",
        "ratio": round(ratio, 3),
        "target": f"≤ {_MOST_TIME:g}",
        "is_reached": ratio <= _MOST_TIME,
    }


def _tune(settings: Settings) -> None:
    """Set what a server of a log of this size is given, as docs/operations/postgresql.md says."""
    with psycopg.connect(settings.required_database_url(), autocommit=True) as connection:
        connection.execute("alter system set max_wal_size = '16GB'")
        connection.execute("alter system set checkpoint_timeout = '5min'")
        connection.execute("select pg_reload_conf()")


def _fill(settings: Settings, events: int) -> None:
    parameters = {
        "tenant": made_up.TENANT,
        "command_type": made_up.COMMAND_TYPE,
        "user": made_up.USER,
        "topic": made_up.TOPIC,
        "data": made_up.payloads()[0],
        "metadata": made_up.metadata_bytes(),
    }
    with psycopg.connect(settings.required_database_url(), autocommit=True) as connection:
        for start in range(0, events, _FILLED_AT_ONCE):
            count = min(_FILLED_AT_ONCE, events - start)
            connection.execute(_FILL.read_bytes(), parameters | {"events": count})
        connection.execute("vacuum (analyze) varve.events, varve.commands, varve.idempotency")
        connection.execute("checkpoint")


def _checkpoints(settings: Settings) -> int:
    with psycopg.connect(settings.required_database_url(), autocommit=True) as connection:
        row = connection.execute(_CHECKPOINTS).fetchone()
        return int(row[0]) if row else 0


@dataclass(frozen=True, slots=True)
class _Log:
    """What appends to a log, and what reads it."""

    batches: BatchAppender
    appender: Appender
    connection: psycopg.AsyncConnection[Any]

    async def append_and_follow(self, kind: str, seconds: float) -> Slice:
        appends = made_up.MadeUp()
        reader = LogReader(event_types())
        first = position = reached = await head(self.connection)
        is_over = asyncio.Event()

        async def append(_caller: int) -> None:
            nonlocal reached
            if kind == "commands":
                appended = await self.appender.append(appends.from_domain_event())
            else:
                appended = await self.batches.append(appends.readable())
            reached = max(reached, appended.position)

        async def follow() -> None:
            nonlocal position
            while not is_over.is_set() or position < reached:
                window = await reader.window(self.connection, position, _WINDOW)
                position = window.scanned_to
                if not window.is_full:
                    await asyncio.sleep(_POLL_SECONDS)

        started = time.perf_counter()
        following = asyncio.create_task(follow())
        appended = await tasks(append, callers=_CALLERS, seconds=seconds)
        is_over.set()
        await following
        return replace(appended, per_second=(reached - first) / (time.perf_counter() - started))


@asynccontextmanager
async def _opened(settings: Settings) -> AsyncIterator[_Log]:
    projector = settings.role_url("varve_projector")
    async with (
        open_batch_appender(settings.role_url("varve_writer")) as batches,
        await psycopg.AsyncConnection.connect(projector, autocommit=True) as connection,
    ):
        yield _Log(batches, Appender(batches, PydanticMapper(event_types())), connection)


def _figure(kind: str, events: int, slices: list[Slice]) -> dict[str, Any]:
    return {
        "row": "large",
        "what": f"{kind}: appended and followed, {events:,} events",
        "per_second": round(median(each.per_second for each in slices), 1),
        "p99_ms": round(median(each.p99_ms or 0 for each in slices), 2),
        "slowest_p99_ms": round(max(each.p99_ms or 0 for each in slices), 2),
        "runs_per_second": [round(each.per_second) for each in slices],
    }
