"""Folds that hang, kill or fill a real worker process: each event is parked, and what is beside it goes on.

How long it takes is measured by `tests.projections.measure_hostile_folds`: nothing fails here on a busy machine.
"""

import asyncio
from contextlib import asynccontextmanager

import pytest

from projections.generations import start_rebuild
from tests.fixtures.engine import running
from tests.fixtures.http import process_environment
from tests.projections.counting import Listed
from tests.projections.engines import lanes, until
from tests.projections.hostile import DEATHS, ON_A_THREAD, Hostile
from tests.projections.hostile_worker import PROGRAM
from tests.projections.sending import create
from varve.up import ChildProcess

_SECONDS = 240.0


@asynccontextmanager
async def worker(settings):
    """Run the worker process under its supervisor."""
    settings.data_directory.mkdir(parents=True, exist_ok=True)
    log_file = settings.data_directory / "hostile.log"
    process = ChildProcess("projections", (), process_environment(settings), log_file, PROGRAM)
    async with running(process.run()):
        yield log_file


async def parked(admin) -> list[tuple[str, str | None]]:
    cursor = await admin.execute("select projection, error from varve.parked order by position")
    return await cursor.fetchall()


async def position_of(admin, projection: str) -> int:
    return min((lane["position"] for lane in await lanes(admin, projection)), default=0)


@pytest.mark.parametrize("name", ["loops in C", "leaves", ON_A_THREAD])
async def test_an_event_that_ends_its_worker_is_parked_and_all_others_go_on(settings, platform, admin, name):
    async def goes_on() -> bool:
        reached = [await position_of(admin, projection) for projection in (Listed.NAME, Hostile.NAME, "user_activity")]
        return min(reached) >= int(last.partition("-")[2])

    async with worker(settings) as log_file:
        await create(platform, "harmless")
        await until(lambda: position_of(admin, Hostile.NAME), "the worker is at work", seconds=_SECONDS)
        await create(platform, name)
        await until(lambda: _is_parked(admin), "the event is parked", seconds=_SECONDS)
        await create(platform, "harmless, too")
        cursor = await admin.execute("select epoch || '-' || varve.head() from varve.log_epochs")
        (last,) = await cursor.fetchone()
        await until(goes_on, "everything beside it goes on", seconds=_SECONDS)
        if name == ON_A_THREAD:
            await until(lambda: _has_begun_twice(log_file), "the thread is gone with its process", seconds=_SECONDS)
    assert await parked(admin) == [(Hostile.NAME, DEATHS[name])]


async def test_a_comparison_beside_a_parked_event_comes_to_its_end(settings, platform, admin, projector_pool):
    async def is_parked_twice() -> bool:
        return len(await parked(admin)) == 2

    async def is_verified() -> bool:
        cursor = await admin.execute("select projection, differing from varve.verifications")
        return await cursor.fetchall() == [(Hostile.NAME, 0)]

    async with worker(settings):
        await create(platform, "leaves")
        await until(lambda: _is_parked(admin), "the event is parked", seconds=_SECONDS)
        await create(platform, "harmless")
        async with projector_pool.connection() as connection:
            await start_rebuild(connection, Hostile(), "verify")
        await until(is_parked_twice, "the new generation parks the event, too", seconds=_SECONDS)
        await until(is_verified, "the generations were compared", seconds=_SECONDS)


async def _is_parked(admin) -> bool:
    return len(await parked(admin)) > 0


async def _has_begun_twice(log_file) -> bool:
    said = await asyncio.to_thread(log_file.read_text)
    return said.count("worker.started") >= 2
