"""A process that is stopped in the middle of a batch, past its lease, and woken when another has its lane."""

import asyncio
import os
import signal
import sys
import time
from contextlib import asynccontextmanager, suppress

import psycopg
import pytest

from projections.generations import ensure_live
from projections.leases import late_owners
from tests.fixtures.http import process_environment
from tests.fixtures.processes import is_stopped
from tests.projections.counting import Listed, logged_positions, named, positions
from tests.projections.engines import engine_of, lanes, leased, until, until_caught_up
from tests.projections.sending import create_many
from tests.projections.stopping_process import FIRST_POSITION, POINTS
from varve.pools import open_pool

TAKEOVER_SECONDS = 5.0
_TAKEN = ("owner", "fence", "position", "advanced_at")


@asynccontextmanager
async def stopping_process(settings, point):
    """Run the worker that stops itself; yields its process id and the file of its log."""
    settings.data_directory.mkdir(parents=True, exist_ok=True)
    log_path = settings.data_directory / "stopping.log"
    with log_path.open("ab") as log_file:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-P",
            "-m",
            "tests.projections.stopping_process",
            point,
            env=process_environment(settings),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=log_file,
            stderr=log_file,
        )
    try:
        yield process.pid, log_path
    finally:
        with suppress(ProcessLookupError):
            process.kill()  # which ends a stopped process, too
        await process.wait()


@pytest.mark.parametrize("point", POINTS)
async def test_what_it_had_begun_is_never_written_and_its_lane_is_taken_over_in_time(settings, platform, admin, point):
    async def has_stopped() -> bool:
        return is_stopped(pid)

    async def is_at_work_again() -> bool:
        cursor = await admin.execute(
            "select bool_and(position = varve.head() and leased_until > clock_timestamp()) from varve.lanes "
            "where projection in ('knowledge_entry_list', 'user_activity') and owner like %s",
            (f"%:{pid}:%",),
        )
        return await cursor.fetchone() == (True,)

    async def has_given_up() -> bool:
        return "lane.lease_lost" in log_path.read_text() or "lane.stopped" in log_path.read_text()

    await create_many(platform, FIRST_POSITION)
    async with stopping_process(settings, point) as (pid, log_path):
        await until_caught_up(admin, ["listed"])
        await create_many(platform, 20)
        await until(has_stopped, "the process has stopped itself")
        stopped_at = time.monotonic()
        async with engine_of(settings, [Listed()]) as other:
            await create_many(platform, 5)
            await until_caught_up(admin, ["listed"])
            assert time.monotonic() - stopped_at < TAKEOVER_SECONDS
            (taken,) = await lanes(admin, "listed")
            assert taken["owner"] == other
            os.kill(pid, signal.SIGCONT)
            await until(has_given_up, "the woken process sees that it lost its lane")
            await until(is_at_work_again, "the woken process runs what nobody else knows")
            (still,) = await lanes(admin, "listed")
            assert [still[name] for name in _TAKEN] == [taken[name] for name in _TAKEN]
            await create_many(platform, 5)
            await until_caught_up(admin, ["listed"])
            assert await positions(admin, "listed") == await logged_positions(admin)


async def test_one_that_keeps_all_lanes_locked_holds_up_nobody(settings, platform, admin):
    """Stopped in the middle of a swap, that is."""
    theirs, ours = named("theirs"), named("ours")

    async def is_ours() -> bool:
        return all(lane["owner"] == owner for lane in await lanes(admin, "theirs", "ours"))

    async with open_pool(settings, "varve_projector", 2, application_name="the stopped one") as pool:
        async with pool.connection() as connection:
            await ensure_live(connection, [theirs, ours])
        await leased(pool, theirs, "the stopped one", 2.0)
        async with engine_of(settings, [theirs, ours]) as owner, pool.connection() as connection:
            await until_caught_up(admin, ["ours"])
            await connection.execute("set idle_in_transaction_session_timeout = 0")  # as after a pipeline (0011)
            await connection.execute("begin")
            await connection.execute("select from varve.leases for update")
            await until(is_ours, "both lanes are the engine's")
            await create_many(platform, 5)
            await until_caught_up(admin, ["theirs", "ours"])
            with suppress(psycopg.Error):  # it was ended
                await connection.rollback()


async def test_late_is_who_lost_a_lane_that_is_to_run_and_said_nothing_since(settings, admin):
    counted = named("counted")
    pause = (
        "update varve.generations set paused_at = case when %s then clock_timestamp() end where projection = 'counted'"
    )
    async with open_pool(settings, "varve_projector", 2) as pool, pool.connection() as connection:
        await ensure_live(connection, [counted])
        await leased(pool, counted, "worker", 60)
        assert await late_owners(connection, 3) == set()
        await admin.execute(
            "update varve.leases set leased_until = now() - interval '1 s' where projection = 'counted'"
        )
        assert await late_owners(connection, 3) == {"worker"}
        await admin.execute(pause, (True,))
        assert await late_owners(connection, 3) == set()
        await admin.execute(pause, (False,))
        await admin.execute("insert into varve.workers (owner, known, seen_at) values ('worker', '{}', now())")
        assert await late_owners(connection, 3) == set()
        await admin.execute("update varve.workers set seen_at = now() - interval '4 s' where owner = 'worker'")
        assert await late_owners(connection, 3) == {"worker"}
