"""How soon a live projection has caught up: two lanes on two worker processes, beside one lane on one."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any

import psycopg

from benchmarks.appends.lines import other_process
from benchmarks.appends.measured import Bench, Contender, Slice, Target
from benchmarks.appends.worker_settings import WorkerSettings
from benchmarks.engines.sizes import Sizes
from benchmarks.rebuilds.log import fill, until_at_head
from benchmarks.rebuilds.view import view_in
from eventstore.batch_appender import open_batch_appender
from projections.generations import ensure_live
from varve.pools import open_pool

_LOOK_SECONDS = 0.02
_OWNERS = """
select count(*) = %(lanes)s and count(distinct owner) = %(lanes)s from varve.lanes
where projection = %(projection)s and leased_until > clock_timestamp()
"""


async def catch_up(bench: Bench, sizes: Sizes) -> list[dict[str, Any]]:
    """KnowledgeEntryListView and events that are there at once; its workers run already."""
    async with AsyncExitStack() as stack:
        contenders = [
            Contender(name, await _workers(stack, bench, lanes, sizes.catch_up_events))
            for lanes, name in ((1, "1 lane"), (2, "2 lanes, 2 processes"))
        ]
        targets = [Target("2 lanes, 2 processes", "1 lane", "≥", 1.3)]
        return await bench.measure("live catch-up", contenders, targets)


async def _workers(stack: AsyncExitStack, bench: Bench, lanes: int, events: int) -> Callable[[float], Awaitable[Slice]]:
    """Start as many workers as lanes, and return what has them catch up once."""
    settings, view = stack.enter_context(bench.server.database()), view_in(lanes)
    batches = await stack.enter_async_context(open_batch_appender(settings.role_url("varve_writer")))
    url = settings.required_database_url()
    admin = await stack.enter_async_context(await psycopg.AsyncConnection.connect(url, autocommit=True))
    async with open_pool(settings, "varve_projector", 1) as pool, pool.connection() as connection:
        await ensure_live(connection, [view])
    told = f"{lanes}\n{WorkerSettings.of(settings).model_dump_json()}"
    for _ in range(lanes):
        await stack.enter_async_context(other_process("benchmarks.rebuilds.worker_process", told))
    shared_out = {"lanes": lanes, "projection": view.NAME}
    while await (await admin.execute(_OWNERS, shared_out)).fetchone() != (True,):  # noqa: ASYNC110 - a database
        await asyncio.sleep(_LOOK_SECONDS)

    async def run(_: float) -> Slice:
        async with admin.transaction():
            # Every lane stands before its first row until the last event is there.
            await admin.execute(f"lock table read_models.{view.NAME}_1_entries in exclusive mode")
            await fill(batches, events)
            began = time.perf_counter()
        await until_at_head(admin, view.NAME)
        return Slice(events / (time.perf_counter() - began))

    return run
