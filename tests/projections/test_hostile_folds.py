"""Folds that hang, kill or fill their worker process: each event is parked, and what is beside it goes on."""

import asyncio
import time
from contextlib import asynccontextmanager

import pytest

from tests.fixtures.engine import running
from tests.fixtures.http import process_environment
from tests.projections.counting import Listed
from tests.projections.engines import lanes, until
from tests.projections.hostile import DEATHS, Hostile
from tests.projections.hostile_worker import PROGRAM
from tests.projections.sending import create
from varve.up import ChildProcess

PARKED_SECONDS = 60.0
LATE_SECONDS = 10.0
MANY = 20


@asynccontextmanager
async def worker(settings):
    """Run the worker process under its supervisor."""
    settings.data_directory.mkdir(parents=True, exist_ok=True)
    log_file = settings.data_directory / "hostile.log"
    process = ChildProcess("projections", (), process_environment(settings), log_file, PROGRAM)
    async with running(process.run()):
        yield process


async def parked(admin) -> dict[int, str | None]:
    cursor = await admin.execute("select position, error from varve.parked where projection = 'hostile'")
    return dict(await cursor.fetchall())


async def stalls(admin, seconds: list[float]) -> None:
    """Note for how long the projection beside it does not move, though a command comes each half a second."""
    last, moved = -1, time.monotonic()
    while True:
        found = [lane["position"] for lane in await lanes(admin, Listed.NAME)]
        if found and found[0] != last:
            last, moved = found[0], time.monotonic()
        seconds.append(time.monotonic() - moved)
        await asyncio.sleep(0.05)


@asynccontextmanager
async def living(platform):
    """Have a command of another stream come each half a second."""

    async def live() -> None:
        number = 0
        while True:
            number += 1
            await create(platform, f"harmless {number}")
            await asyncio.sleep(0.5)

    async with running(live()):
        yield


async def until_parked(admin, count: int) -> None:
    async def are_parked() -> bool:
        return len(await parked(admin)) == count

    await until(are_parked, f"{count} events are parked", seconds=PARKED_SECONDS)


@pytest.mark.parametrize("name", sorted(DEATHS))
async def test_an_event_that_ends_its_worker_is_parked_and_nothing_else_waits_long(settings, platform, admin, name):
    late: list[float] = []
    async with worker(settings) as process:
        await create(platform, "harmless")
        await until(lambda: _has_rows(admin), "the projections are at work", seconds=PARKED_SECONDS)
        async with living(platform), running(stalls(admin, late)):
            await create(platform, name)
            await until_parked(admin, 1)
            await asyncio.sleep(1)
        assert process.pid is not None
    assert list((await parked(admin)).values()) == [DEATHS[name]]
    assert max(late) < LATE_SECONDS


async def _has_rows(admin) -> bool:
    found = await lanes(admin, Listed.NAME, Hostile.NAME)
    return len(found) == 2 and all(lane["position"] > 0 for lane in found)
