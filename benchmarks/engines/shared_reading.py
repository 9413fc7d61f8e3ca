"""What fifty small projections in eight lanes each read, decode and connect: the log should be read once for all."""

import asyncio
import json
import time
from collections.abc import Mapping
from typing import Any

import psycopg

from benchmarks.appends.lines import other_process
from benchmarks.appends.measured import Bench
from benchmarks.appends.worker_settings import WorkerSettings
from benchmarks.engines.sizes import Sizes
from benchmarks.rebuilds.log import Admin, fill
from eventstore.batch_appender import open_batch_appender

_LOOK_SECONDS = 0.05
_MANY, _LANES = 50, 8
_MOST_READ = 1.1
"""Times that an event is read: a window at the log's end may be read again."""
_MOST_CONNECTIONS = 8
_LAGGING = "select count(*), count(*) filter (where position < varve.head()) from varve.lanes"
_CONNECTIONS = """
select count(*) from pg_stat_activity where datname = current_database() and usename = 'varve_projector'
"""


async def shared_reading(bench: Bench, sizes: Sizes) -> list[dict[str, Any]]:
    """One projection in one lane, then fifty in eight: each process finds the same log and follows it to its end."""
    one = await _followed(bench, 1, 1, sizes.shared_events)
    many = await _followed(bench, _MANY, _LANES, sizes.shared_events)
    return [
        *(_figure(what, found) for what, found in (("1 projection", one), (f"{_MANY} x {_LANES} lanes", many))),
        *(_judged(of, many[of] / sizes.shared_events, _MOST_READ) for of in ("rows", "decoded")),
        _judged("connections", many["connections"], _MOST_CONNECTIONS),
    ]


async def _followed(bench: Bench, projections: int, lanes: int, events: int) -> dict[str, float]:
    with bench.server.database() as settings:
        async with open_batch_appender(settings.role_url("varve_writer")) as batches:
            await fill(batches, events)
        url = settings.required_database_url()
        told = f"{projections} {lanes}\n{WorkerSettings.of(settings).model_dump_json()}"
        async with (
            await psycopg.AsyncConnection.connect(url, autocommit=True) as admin,
            other_process("benchmarks.engines.small_process", told) as process,
        ):
            began = time.perf_counter()
            connections = await _most_connections_until_at_head(admin, projections * lanes)
            seconds = time.perf_counter() - began
            counts: dict[str, float] = json.loads(await process.ask(""))
            return counts | {"seconds": seconds, "connections": connections}


async def _most_connections_until_at_head(admin: Admin, lanes: int) -> int:
    most = 0
    while True:
        (connections,) = await (await admin.execute(_CONNECTIONS)).fetchone() or (0,)
        most = max(most, connections)
        if await (await admin.execute(_LAGGING)).fetchone() == (lanes, 0):
            return most
        await asyncio.sleep(_LOOK_SECONDS)


def _figure(what: str, found: Mapping[str, float]) -> dict[str, Any]:
    return {"row": "shared reading", "what": what} | {name: round(value, 2) for name, value in found.items()}


def _judged(of: str, value: float, most: float) -> dict[str, Any]:
    what = of if of == "connections" else f"{of} of the log"
    return {
        "row": "shared reading",
        "what": f"{what}, {_MANY} x {_LANES} lanes",
        "value": round(value, 3),
        "target": f"≤ {most:g}",
        "is_reached": value <= most,
    }
