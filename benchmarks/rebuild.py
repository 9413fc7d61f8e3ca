"""Measures the rebuild of KnowledgeEntryListView, beside one SQL statement and beside the library's ProjectionRunner.

    python benchmarks/rebuild.py [--events 1000000] [--rounds 5] [--save NAME]

It starts a PostgreSQL of its own with fsync on, and two workers. An entry has ten events: it is created, updated eight
times and linked.
"""

import argparse
import asyncio
import json
import sys
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack, ExitStack
from pathlib import Path
from statistics import median
from typing import Any

import psycopg

from benchmarks.appends.database import own_server
from benchmarks.appends.lines import other_process
from benchmarks.appends.worker_settings import WorkerSettings
from benchmarks.rebuilds.library import events_per_second
from benchmarks.rebuilds.log import fill, until_at_head, until_live
from benchmarks.rebuilds.view import view_in
from benchmarks.record import circumstances, save
from eventstore.batch_appender import open_batch_appender
from projections.generations import ensure_live, start_rebuild
from varve.pools import open_pool
from varve.settings import Settings

_SAME_TABLE = Path(__file__).parent / "rebuilds" / "same_table.sql"
_LEAST_OF_SQL = 0.4
_LEAST_OF_RUNNER = 80
_RUNNER_EVENTS = 5_000
_MOST_BYTES = 400_000_000
_MOST_GROWTH = 1.2


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--save", metavar="NAME", help="keep the figures as benchmarks/results/NAME.json")
    arguments = parser.parse_args()
    print(json.dumps(circumstances()), flush=True)
    with own_server() as server, server.database() as settings, ExitStack() as stack:
        runner_databases = [stack.enter_context(server.database()) for _ in range(arguments.rounds)]
        figures = asyncio.run(measure(settings, runner_databases, arguments.events, arguments.workers))
    for figure in figures:
        print(json.dumps(figure, ensure_ascii=False), flush=True)
    if arguments.save:
        print(save(arguments.save, " ".join(["benchmarks/rebuild.py", *sys.argv[1:]]), figures))


async def measure(
    settings: Settings, runner_databases: list[Settings], events: int, workers: int
) -> list[dict[str, Any]]:
    view = view_in(workers)
    async with AsyncExitStack() as stack:
        async with open_batch_appender(settings.role_url("varve_writer")) as batches:
            await fill(batches, events)
        pool = await stack.enter_async_context(open_pool(settings, "varve_projector", 2))
        admin = await psycopg.AsyncConnection.connect(settings.required_database_url(), autocommit=True)
        await stack.enter_async_context(admin)
        await admin.execute("vacuum analyze varve.events")
        async with pool.connection() as connection:
            await ensure_live(connection, [view])
        told = f"{workers}\n{WorkerSettings.of(settings).model_dump_json()}"
        processes = [
            await stack.enter_async_context(other_process("benchmarks.rebuilds.worker_process", told))
            for _ in range(workers)
        ]
        await until_live(admin, view.NAME, 1)
        await until_at_head(admin, view.NAME)
        rebuilds: list[float] = []
        statements: list[float] = []
        runners: list[float] = []
        memory: list[list[int]] = []
        for number in range(2, len(runner_databases) + 2):
            statements.append(events / await _compute(admin, f"read_models.{view.NAME}_{number - 1}_entries"))
            began = time.perf_counter()
            async with pool.connection() as connection:
                await start_rebuild(connection, view)
            await until_live(admin, view.NAME, number)
            rebuilds.append(events / (time.perf_counter() - began))
            memory.append([int(await process.ask("")) for process in processes])
            runners.append(await asyncio.to_thread(events_per_second, runner_databases.pop(), _RUNNER_EVENTS))
        return [
            *_judged("one SQL statement", rebuilds, statements, _LEAST_OF_SQL),
            *_judged("the library's ProjectionRunner", rebuilds, runners, _LEAST_OF_RUNNER),
            *[figure for of_process in zip(*memory, strict=True) for figure in _memory(of_process)],
        ]


async def _compute(admin: psycopg.AsyncConnection[Any], table: str) -> float:
    """Return how many seconds the statement takes that fills a table like `table`, which is read now."""
    await admin.execute("drop table if exists same_entries")
    await admin.execute(f"create table same_entries (like {table} including all)")
    began = time.perf_counter()
    await admin.execute(_SAME_TABLE.read_bytes())
    return time.perf_counter() - began


def _memory(most: Sequence[int]) -> list[dict[str, Any]]:
    """Return how much a worker had at the most until the end of each rebuild: it must not grow from one to the next."""
    growth = most[-1] / most[0]
    return [
        {
            "row": "rebuild",
            "what": "the most memory of a worker",
            "bytes": most[-1],
            "target": f"≤ {_MOST_BYTES}",
            "is_reached": most[-1] <= _MOST_BYTES,
        },
        {
            "row": "rebuild",
            "what": "the most memory of a worker: last rebuild / first",
            "ratio": round(growth, 3),
            "target": f"≤ {_MOST_GROWTH:g}",
            "is_reached": growth <= _MOST_GROWTH,
            "bytes": most,
        },
    ]


def _judged(reference: str, rebuilds: list[float], references: list[float], least: float) -> list[dict[str, Any]]:
    ratios = [rebuild / each for rebuild, each in zip(rebuilds, references, strict=True)]
    return [
        {"row": "rebuild", "what": reference, "per_second": round(median(references))},
        {
            "row": "rebuild",
            "what": "rebuild",
            "per_second": round(median(rebuilds)),
            "runs_per_second": [round(each) for each in rebuilds],
        },
        {
            "row": "rebuild",
            "what": f"rebuild / {reference}",
            "of": "per_second",
            "ratio": round(median(ratios), 3),
            "target": f"≥ {least:g}",
            "is_reached": median(ratios) >= least,
            "ratios": [round(each, 3) for each in ratios],
        },
    ]


if __name__ == "__main__":
    main()
