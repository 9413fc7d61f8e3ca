"""Measures what a snapshot that somebody holds open for minutes does to a live system, and whether it is over after it.

    python benchmarks/held_snapshot.py [--minutes 10] [--before 2] [--after 3] [--per-second 300] [--save NAME]

It starts a PostgreSQL of its own with fsync on, a process of workers, and a steady load of what commands write. While a
snapshot is open, nothing that was deleted or updated since can be cleared away.
"""

import argparse
import asyncio
import itertools
import json
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from statistics import median
from typing import Any

import psycopg
import uvloop
from psycopg.rows import dict_row

from benchmarks.appends.database import own_server
from benchmarks.appends.lines import other_process
from benchmarks.appends.steady import SteadyLoad, Times
from benchmarks.appends.worker_settings import WorkerSettings
from benchmarks.record import circumstances, save
from eventstore.append import open_appender
from eventstore.background import run_beside
from eventstore.mapper import PydanticMapper
from eventstore.wake import WakeSender
from projections.live import LiveReadModels
from varve.bootstrap import event_types, open_blobs
from varve.pools import open_pool
from varve.settings import Settings
from workers.housekeeping import Housekeeping

_WINDOW_SECONDS = 30.0
_PURGE_SECONDS = 15.0
_READ_SECONDS = 0.05
_WARM_UP_SECONDS = 10.0
_MODELS = ("knowledge_entry_list", "document_status", "user_activity")
_TABLES = ("checkpoints", "leases", "idempotency", "claims", "counters", "log_epochs", "jobs")
_MOST_P99 = 2.0
_MOST_GROWTH = 10.0
_FEW_ROWS = 100_000
"""What the checkpoints of four lanes leave in the minute between two autovacuums: a thousand rows a second."""

_SIZES = """
select s.relname as name, pg_table_size(s.relid) as bytes, pg_indexes_size(s.relid) as index_bytes,
       s.n_dead_tup as dead, s.n_tup_upd as updates, s.n_tup_hot_upd as hot
from pg_stat_user_tables s where s.schemaname = 'varve' and s.relname = any (%s)
"""
_LAG = """
select varve.head() - min(l.position)
from varve.lanes l join varve.generations g using (projection, generation) where g.status = 'live'
"""


@dataclass(frozen=True, slots=True)
class Plan:
    """How many minutes without a held snapshot, with it, and after it; and how many appends a second."""

    before: float
    minutes: float
    after: float
    per_second: float


class Live:
    """The live system, and what is seen of it in windows of half a minute."""

    def __init__(self, load: SteadyLoad, reads: Times, admin: psycopg.AsyncConnection[Any]) -> None:
        self._load = load
        self._reads = reads
        self._admin = admin
        self._started = time.perf_counter()

    async def windows(self, phase: str, minutes: float) -> list[dict[str, Any]]:
        """Print and return what was seen in each window of a phase."""
        return [await self._window(phase) for _ in range(max(1, round(minutes * 60 / _WINDOW_SECONDS)))]

    async def _window(self, phase: str) -> dict[str, Any]:
        for times in (self._load.times, self._reads):
            times.tell(1)
        began = time.perf_counter()
        await asyncio.sleep(_WINDOW_SECONDS)
        seconds = time.perf_counter() - began
        cursor = await self._admin.execute(_LAG)
        lag = await cursor.fetchone()
        return _printed(
            {
                "row": "held snapshot",
                "what": phase,
                "minute": round((time.perf_counter() - self._started) / 60, 1),
                "appends": self._load.times.tell(seconds),
                "reads": self._reads.tell(seconds),
                "lag": lag[0] if lag else None,
                "tables": await self._sizes(),
            }
        )

    async def _sizes(self) -> dict[str, Any]:
        async with self._admin.cursor(row_factory=dict_row) as cursor:
            await cursor.execute(_SIZES, (list(_TABLES),))
            return {row.pop("name"): row for row in await cursor.fetchall()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10.0, help="how long the snapshot is held")
    parser.add_argument("--before", type=float, default=2.0, help="minutes without it, to compare with")
    parser.add_argument("--after", type=float, default=3.0, help="minutes after it, in which autovacuum comes round")
    parser.add_argument("--per-second", type=float, default=300.0, help="appends")
    parser.add_argument("--save", metavar="NAME", help="keep the figures as benchmarks/results/NAME.json")
    arguments = parser.parse_args()
    plan = Plan(arguments.before, arguments.minutes, arguments.after, arguments.per_second)
    _printed(circumstances())
    with own_server() as server, server.database() as settings:
        figures = uvloop.run(measure(settings, plan))
    if arguments.save:
        print(save(arguments.save, " ".join(["benchmarks/held_snapshot.py", *sys.argv[1:]]), figures))


async def measure(settings: Settings, plan: Plan) -> list[dict[str, Any]]:
    """Return what each window saw, and how the targets were met."""
    async with live_system(settings, plan.per_second) as live:
        await asyncio.sleep(_WARM_UP_SECONDS)
        before = await live.windows("before", plan.before)
        async with held_snapshot(settings):
            held = await live.windows("held", plan.minutes)
        after = await live.windows("after", plan.after)
    return [*before, *held, *after, *map(_printed, judged(before, held, after))]


@asynccontextmanager
async def live_system(settings: Settings, per_second: float) -> AsyncIterator[Live]:
    async with AsyncExitStack() as stack:
        url = settings.role_url("varve_writer")
        waker = WakeSender(url)
        run_beside(stack, waker.run())
        appender = await stack.enter_async_context(open_appender(url, PydanticMapper(event_types()), waker.wake))
        projector = await stack.enter_async_context(open_pool(settings, "varve_projector", 2))
        reader = await stack.enter_async_context(open_pool(settings, "varve_reader", 2))
        await stack.enter_async_context(
            other_process("benchmarks.appends.worker_process", WorkerSettings.of(settings).model_dump_json())
        )
        admin = await stack.enter_async_context(await _as_superuser(settings))
        load, reads = SteadyLoad(appender, per_second), Times()
        housekeeping = Housekeeping(projector, open_blobs(settings), settings.search_record_days)
        run_beside(stack, load.run(), _read(LiveReadModels(reader), reads), _purge(housekeeping))
        yield Live(load, reads, admin)


@asynccontextmanager
async def held_snapshot(settings: Settings) -> AsyncIterator[None]:
    """Hold a snapshot, as a dump or somebody at a prompt does."""
    async with await _as_superuser(settings) as connection:
        await connection.execute("begin isolation level repeatable read")
        await connection.execute("select count(*) from varve.generations")
        yield
        await connection.execute("rollback")


async def _as_superuser(settings: Settings) -> psycopg.AsyncConnection[Any]:
    return await psycopg.AsyncConnection.connect(settings.required_database_url(), autocommit=True)


async def _read(read_models: LiveReadModels, times: Times) -> None:
    """Ask how far the read models are, as every query does, until cancelled."""
    started = time.perf_counter()
    for number in itertools.count():
        due = started + number * _READ_SECONDS
        await asyncio.sleep(max(0.0, due - time.perf_counter()))
        await read_models.reached(_MODELS)
        times.milliseconds.append((time.perf_counter() - due) * 1000)


async def _purge(housekeeping: Housekeeping) -> None:
    """Clear expired keys away until cancelled."""
    while True:
        await asyncio.sleep(_PURGE_SECONDS)
        await housekeeping.clear_once()


def judged(
    before: list[dict[str, Any]], held: list[dict[str, Any]], after: list[dict[str, Any]]
) -> Iterator[dict[str, Any]]:
    """Yield how the targets were met.

    Whatever grows shows most in the last third of the time. A table's files need not become smaller: that its dead rows
    are gone says that the room is used again.
    """
    last_third = held[-max(1, len(held) // 3) :]
    for of in ("appends", "reads"):
        reference = _median_p99(before, of)
        for what, windows in (("held / before", held), ("the last third of held / before", last_third)):
            yield _target(f"{of}, p99: {what}", "ratio", _median_p99(windows, of) / reference, _MOST_P99)
    minutes = held[-1]["minute"] - before[-1]["minute"]
    for table in _TABLES:
        at_first, at_last, at_end = (windows[-1]["tables"][table] for windows in (before, held, after))
        growth = sum(at_last[each] - at_first[each] for each in ("bytes", "index_bytes")) / minutes
        yield _target(f"{table}: growth while held", "megabytes_a_minute", growth / 1e6, _MOST_GROWTH)
        yield _target(f"{table}: dead rows after it", "rows", at_end["dead"], 2 * at_first["dead"] + _FEW_ROWS)


def _median_p99(windows: list[dict[str, Any]], of: str) -> float:
    return median(float(window[of]["p99_ms"]) for window in windows)


def _target(what: str, of: str, value: float, most: float) -> dict[str, Any]:
    return {
        "row": "held snapshot",
        "what": what,
        of: round(value, 3),
        "target": f"≤ {most:g}",
        "is_reached": value <= most,
    }


def _printed(figure: dict[str, Any]) -> dict[str, Any]:
    print(json.dumps(figure, ensure_ascii=False), flush=True)
    return figure


if __name__ == "__main__":
    main()
