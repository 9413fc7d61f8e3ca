"""How many events a second are appended, beside the library's own recorder and beside plain inserts."""

from collections.abc import Awaitable, Callable
from typing import Any

from benchmarks.appends.callers import tasks
from benchmarks.appends.made_up import MadeUp
from benchmarks.appends.measured import Bench, Contender, Slice, Target
from benchmarks.appends.pgbench import Pgbench
from benchmarks.appends.stock import stock
from eventstore.append import Appender
from eventstore.batch_appender import open_batch_appender
from eventstore.mapper import PydanticMapper
from varve.bootstrap import event_types

_MANY = 32


async def many_callers(bench: Bench) -> list[dict[str, Any]]:
    """32 concurrent callers of one process, one event each."""
    made_up = MadeUp()
    with bench.server.database() as settings, stock(settings, _MANY) as library:
        pgbench = Pgbench(settings, bench.server.programs / "pgbench")
        pgbench.make_tables()
        async with open_batch_appender(settings.role_url("varve_writer")) as batches:
            appender = Appender(batches, PydanticMapper(event_types()))
            contenders = [
                library.contender("stock", callers=_MANY),
                appending("bare", lambda _: batches.append(made_up.bare()), callers=_MANY),
                appending("production", lambda _: batches.append(made_up.production()), callers=_MANY),
                appending(
                    "production from domain events",
                    lambda _: appender.append(made_up.from_domain_event()),
                    callers=_MANY,
                ),
                pgbench.contender("pgbench, bare", "pgbench_bare.sql", clients=_MANY),
                pgbench.contender("pgbench, production", "pgbench_production.sql", clients=_MANY),
            ]
            targets = [
                Target("bare", "stock", "≥", 14),
                Target("bare", "stock", "≤", 0.1, of="p99_ms"),
                Target("production", "stock", "≥", 9),
                Target("bare", "pgbench, bare", "≥", 1.1),
                Target("production", "pgbench, production", "≥", 1.0),
            ]
            return await bench.measure("32 callers", contenders, targets)


async def one_caller(bench: Bench) -> list[dict[str, Any]]:
    """One caller who waits for each answer."""
    made_up = MadeUp()
    with bench.server.database() as settings, stock(settings, 1) as library:
        async with open_batch_appender(settings.role_url("varve_writer")) as batches:
            contenders = [
                library.contender("stock", callers=1),
                appending("bare", lambda _: batches.append(made_up.bare()), callers=1),
                appending("production", lambda _: batches.append(made_up.production()), callers=1),
            ]
            return await bench.measure("1 caller", contenders, [Target("bare", "stock", "≥", 1.5)])


async def ten_events(bench: Bench) -> list[dict[str, Any]]:
    """32 concurrent callers, ten events each."""
    made_up = MadeUp()
    with bench.server.database() as settings, stock(settings, _MANY) as library:
        async with open_batch_appender(settings.role_url("varve_writer")) as batches:
            contenders = [
                library.contender("stock", callers=_MANY, events=10),
                appending("bare", lambda _: batches.append(made_up.bare(events=10)), callers=_MANY, events=10),
            ]
            return await bench.measure("10 events", contenders, [Target("bare", "stock", "≥", 12)])


def appending(name: str, append: Callable[[int], Awaitable[object]], *, callers: int, events: int = 1) -> Contender:
    """Return the contender of an appender of ours; `append` is given the caller's number."""

    async def run(seconds: float) -> Slice:
        return await tasks(append, callers=callers, seconds=seconds, events=events)

    return Contender(name, run)
