"""What a rebuild does to live commands and queries: the same load with and without it, in turns."""

import asyncio
from contextlib import AsyncExitStack
from typing import Any

import psycopg

from benchmarks.appends.lines import other_process
from benchmarks.appends.measured import Bench, Slice, Target, compared, figure
from benchmarks.appends.worker_settings import WorkerSettings
from benchmarks.engines.commands import Editor, evenly
from benchmarks.engines.sizes import Sizes
from benchmarks.rebuilds.log import Admin, fill, until_at_head, until_live
from eventstore.background import running_beside
from eventstore.batch_appender import open_batch_appender
from projections.generations import ensure_live, start_rebuild
from projections.knowledge.entry_list import KnowledgeEntryListView
from varve.bootstrap import open_platform
from varve.pools import open_pool

_ROW = "beside a rebuild"
_SIDES = _NOTHING, _REBUILDS = "without", "during rebuilds"
_WORKERS = 2
_PER_SECOND = 50.0
_MOST_P99 = 2.0
_NEWEST = "select max(generation) from varve.generations where projection = %s"


async def beside_rebuild(bench: Bench, sizes: Sizes) -> list[dict[str, Any]]:
    """Fifty commands and fifty queries a second, while KnowledgeEntryListView is rebuilt again and again."""
    async with AsyncExitStack() as stack:
        settings, view = stack.enter_context(bench.server.database()), KnowledgeEntryListView()
        async with open_batch_appender(settings.role_url("varve_writer")) as batches:
            await fill(batches, sizes.rebuilt_events)
        pool = await stack.enter_async_context(open_pool(settings, "varve_projector", 1))
        url = settings.required_database_url()
        admin = await stack.enter_async_context(await psycopg.AsyncConnection.connect(url, autocommit=True))
        await admin.execute("vacuum analyze varve.events")
        async with pool.connection() as connection:
            await ensure_live(connection, [view])
        told = WorkerSettings.of(settings).model_dump_json()
        for _ in range(_WORKERS):
            await stack.enter_async_context(other_process("benchmarks.appends.worker_process", told))
        await until_at_head(admin, view.NAME)
        editor = Editor(await stack.enter_async_context(open_platform(settings)))

        async def rebuild() -> None:
            while True:
                async with pool.connection() as connection:
                    await start_rebuild(connection, view)
                await until_live(admin, view.NAME, await _newest(admin, view.NAME))

        slices: dict[str, list[Slice]] = {}
        for number in range(bench.rounds):
            for beside in _SIDES if number % 2 == 0 else reversed(_SIDES):
                async with running_beside(*([rebuild()] if beside == _REBUILDS else [])):
                    commands, queries = await asyncio.gather(
                        evenly(editor.create, per_second=_PER_SECOND, seconds=sizes.seconds),
                        evenly(editor.look, per_second=_PER_SECOND, seconds=sizes.seconds),
                    )
                await until_live(admin, view.NAME, await _newest(admin, view.NAME))
                for of, milliseconds in (("commands", commands), ("queries", queries)):
                    slices.setdefault(f"{of} {beside}", []).append(Slice.of(sizes.seconds, milliseconds))
        rebuilds = await _newest(admin, view.NAME) - 1
    targets = [
        Target(f"{of} {_REBUILDS}", f"{of} {_NOTHING}", "≤", _MOST_P99, of="p99_ms") for of in ("commands", "queries")
    ]
    return [
        {"row": _ROW, "what": "rebuilds", "count": rebuilds, "events": sizes.rebuilt_events},
        *(figure(_ROW, name, found) for name, found in slices.items()),
        *(compared(_ROW, target, slices) for target in targets),
    ]


async def _newest(admin: Admin, projection: str) -> int:
    (generation,) = await (await admin.execute(_NEWEST, (projection,))).fetchone() or (0,)
    return int(generation)
