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
from contextlib import AsyncExitStack, ExitStack
from pathlib import Path
from statistics import median
from typing import Any

import psycopg

from benchmarks.appends.database import own_server
from benchmarks.appends.lines import OtherProcess, other_process
from benchmarks.appends.made_up import METADATA, TENANT, MadeUp, new_id
from benchmarks.appends.worker_settings import WorkerSettings
from benchmarks.rebuilds.library import events_per_second
from benchmarks.rebuilds.view import view_in
from benchmarks.record import circumstances, save
from domain.knowledge.events import KnowledgeEntryLinked, KnowledgeEntryUpdated
from domain.shared.access import Visibility
from eventstore.batch_appender import BatchAppender, open_batch_appender
from eventstore.mapper import encode
from eventstore.prepare import prepare_rows
from eventstore.rows import EventRow
from projections.generations import ensure_live, start_rebuild
from varve.pools import open_pool
from varve.settings import Settings

_SAME_TABLE = Path(__file__).parent / "rebuilds" / "same_table.sql"
_EVENTS_EACH = 10
_APPENDED_AT_ONCE = 200  # entries
_LOOK_SECONDS = 0.02
_LEAST_OF_SQL = 0.4
_LEAST_OF_RUNNER = 80
_RUNNER_EVENTS = 5_000
_MOST_BYTES = 400_000_000


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
            await _fill(batches, events // _EVENTS_EACH)
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
        await _until_live(admin, view.NAME, 1)
        await _until_at_head(admin, view.NAME, 1)
        rebuilds: list[float] = []
        statements: list[float] = []
        runners: list[float] = []
        for number in range(2, len(runner_databases) + 2):
            statements.append(events / await _compute(admin, view.NAME))
            began = time.perf_counter()
            async with pool.connection() as connection:
                await start_rebuild(connection, view)
            await _until_live(admin, view.NAME, number)
            rebuilds.append(events / (time.perf_counter() - began))
            runners.append(await asyncio.to_thread(events_per_second, runner_databases.pop(), _RUNNER_EVENTS))
        return [
            *_judged("one SQL statement", rebuilds, statements, _LEAST_OF_SQL),
            *_judged("the library's ProjectionRunner", rebuilds, runners, _LEAST_OF_RUNNER),
            *[await _memory(process) for process in processes],
        ]


async def _fill(batches: BatchAppender, entries: int) -> None:
    made_up = MadeUp()
    for start in range(0, entries, _APPENDED_AT_ONCE):
        rows = [row for _ in range(min(_APPENDED_AT_ONCE, entries - start)) for row in _entry(made_up)]
        await batches.append(prepare_rows(TENANT, new_id(), rows, METADATA))


def _entry(made_up: MadeUp) -> list[EventRow]:
    entry_id = new_id()
    created = made_up.created(entry_id, ("clay", "silt"))
    described = created.model_dump(exclude={"owner", "visibility"})
    updates = [
        KnowledgeEntryUpdated(**described | {"name": f"Name {number}"}, visibility=Visibility.TENANT, changed=("name",))
        for number in range(_EVENTS_EACH - 2)
    ]
    linked = KnowledgeEntryLinked(entry_id=entry_id, target_id=new_id(), relation="cites")
    return [
        EventRow(f"entry-{entry_id}", version, event.TOPIC, event.class_version, encode(event))
        for version, event in enumerate([created, *updates, linked], start=1)
    ]


async def _compute(admin: psycopg.AsyncConnection[Any], name: str) -> float:
    await admin.execute("drop table if exists same_entries")
    await admin.execute(f"create table same_entries (like read_models.{name}_1_entries including all)")
    began = time.perf_counter()
    await admin.execute(_SAME_TABLE.read_bytes())
    return time.perf_counter() - began


async def _until_live(admin: psycopg.AsyncConnection[Any], name: str, generation: int) -> None:
    query = "select count(*) from varve.generations where projection = %s and generation = %s and status = 'live'"
    while await (await admin.execute(query, (name, generation))).fetchone() != (1,):  # noqa: ASYNC110 - as below
        await asyncio.sleep(_LOOK_SECONDS)


async def _until_at_head(admin: psycopg.AsyncConnection[Any], name: str, generation: int) -> None:
    query = "select min(position) = varve.head() from varve.lanes where projection = %s and generation = %s"
    while await (await admin.execute(query, (name, generation))).fetchone() != (True,):  # noqa: ASYNC110 - a database
        await asyncio.sleep(_LOOK_SECONDS)


async def _memory(process: OtherProcess) -> dict[str, Any]:
    most = int(await process.ask(""))
    return {
        "row": "rebuild",
        "what": "the most memory of a worker",
        "bytes": most,
        "target": f"≤ {_MOST_BYTES}",
        "is_reached": most <= _MOST_BYTES,
    }


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
