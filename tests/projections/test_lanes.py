"""Lanes: who runs them, who takes them over, and that what stops one stops no other."""

import asyncio
import os
import random
import signal
import sys
import time
from contextlib import asynccontextmanager

import pytest

from eventstore.log import head
from eventstore.wake import READY_CHANNEL
from projections.engine import LEASE_SECONDS
from projections.knowledge.entry_list import KnowledgeEntryListView
from tests.fixtures.http import process_environment
from tests.projections.comparing import rebuild, stored_tables
from tests.projections.counting import Counted, Failing, Heavy, Paused, Waiting, counts, slowly
from tests.projections.engines import CONNECTIONS, engine_of, lanes, live_generation, until, until_caught_up
from tests.projections.folding import variant
from tests.projections.sending import create, create_many
from varve.bootstrap import open_engine

TAKEOVER_SECONDS = 5.0


@asynccontextmanager
async def worker_process(settings):
    """Run `varve worker projections` as a process of its own; yields the process, which may be killed."""
    settings.data_directory.mkdir(parents=True, exist_ok=True)
    with (settings.data_directory / "worker.log").open("ab") as log_file:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-P",
            "-c",
            "from varve.cli import main; main()",
            "worker",
            "projections",
            env=process_environment(settings),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=log_file,
            stderr=log_file,
        )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()


async def held_by_one(admin) -> bool:
    cursor = await admin.execute("select count(*), count(distinct owner), bool_and(owner is not null) from varve.lanes")
    count, owners, are_held = await cursor.fetchone()
    return count > 0 and owners == 1 and are_held


@pytest.mark.parametrize("death", [signal.SIGKILL, signal.SIGTERM], ids=["killed", "stopped"])
async def test_the_lanes_of_a_worker_that_ended_are_taken_over_in_time(settings, admin, platform, death):
    async with worker_process(settings) as process:
        await until(lambda: held_by_one(admin), "the worker holds every lane")
        before = {lane["fence"] for lane in await lanes(admin, "knowledge_entry_list")}
        async with engine_of(settings, [KnowledgeEntryListView()]):
            await create(platform)
            os.kill(process.pid, death)
            await process.wait()
            ended = time.monotonic()
            await create(platform)
            await until_caught_up(admin, ["knowledge_entry_list"])
            seconds = time.monotonic() - ended
    after = await lanes(admin, "knowledge_entry_list")
    assert {lane["fence"] for lane in after} != before
    assert seconds < (TAKEOVER_SECONDS if death is signal.SIGKILL else 1.5)
    (live,) = [await stored_tables(admin, KnowledgeEntryListView(), 1)]
    assert len(live["entries"]) == 2


async def test_an_engine_that_stops_gives_its_leases_back(settings, admin):
    async def is_held() -> bool:
        return any(lane["owner"] is not None for lane in await lanes(admin, "counted"))

    async with engine_of(settings, [Counted()]):
        await until(is_held, "the engine has the lane")
    (free,) = await lanes(admin, "counted")
    assert (free["owner"], free["leased_until"]) == (None, None)


async def test_two_engines_never_share_a_lane(settings, platform, admin):
    async with engine_of(settings, [Counted()]), engine_of(settings, [Counted()]):
        for number in range(30):
            await create(platform, f"layer {number}")
        await until_caught_up(admin, ["counted"])
        assert await counts(admin, "counted") == {"acme": 30}


async def test_lanes_that_have_every_connection_keep_their_leases(settings, platform, admin):
    paused = Paused(after_writing=False)
    busy = [variant(paused, f"number_{number}") for number in range(CONNECTIONS)]
    names = [projection.NAME for projection in busy]
    await create(platform)
    async with engine_of(settings, busy):
        async with asyncio.timeout(20):
            await paused.has_stopped.wait()
        await asyncio.sleep(LEASE_SECONDS + 1)
        held = await lanes(admin, *names)
        paused.may_go_on.set()
        await until_caught_up(admin, names)
    assert [lane["fence"] for lane in held] == [1] * CONNECTIONS
    assert {lane["fence"] for lane in await lanes(admin, *names)} == {1}


async def test_a_projection_that_is_not_ready_holds_up_no_other(settings, platform, admin):
    waiting = Waiting()
    async with engine_of(settings, [waiting, Counted()]):
        await create_many(platform, 5)
        await until_caught_up(admin, ["counted"])
        (lane,) = await lanes(admin, "waiting")
        assert (lane["position"], lane["failures"], lane["error"]) == (0, 0, None)
        waiting.ready_to = sys.maxsize
        await until_caught_up(admin, ["waiting"])
    assert await counts(admin, "waiting") == await counts(admin, "counted") == {"acme": 5}


async def test_what_is_ready_is_applied_while_the_rest_waits(settings, platform, admin):
    waiting = Waiting()
    async with engine_of(settings, [waiting]):
        await until_caught_up(admin, ["waiting"])
        waiting.ready_to = await head(admin) + 3
        await create_many(platform, 5)

        async def has_three() -> bool:
            return await counts(admin, "waiting") == {"acme": 3}

        await until(has_three, "three entries are counted")
        (lane,) = await lanes(admin, "waiting")
        assert (lane["position"], lane["failures"], lane["error"]) == (waiting.ready_to, 0, None)
        waiting.ready_to = sys.maxsize
        await until_caught_up(admin, ["waiting"])
    assert await counts(admin, "waiting") == {"acme": 5}


async def test_a_lane_that_waits_tries_again_when_something_was_made_and_not_for_more_events(
    settings, platform, admin, monkeypatch
):
    monkeypatch.setattr("projections.lane._NOT_READY_SECONDS", 60)
    waiting = Waiting()

    async def was_asked() -> bool:
        return waiting.asked > 0

    async with engine_of(settings, [waiting, Counted()]):
        await create_many(platform, 5)
        await until(was_asked, "the events were looked at")
        asked = waiting.asked
        for _ in range(5):
            await create(platform)
            await until_caught_up(admin, ["counted"])
        assert waiting.asked == asked
        waiting.ready_to = sys.maxsize
        await admin.execute("select pg_notify(%s, '')", (READY_CHANNEL,))
        await until_caught_up(admin, ["waiting"])
    assert await counts(admin, "waiting") == {"acme": 10}


@pytest.mark.parametrize(("is_heavy", "most"), [(True, 1), (False, 2)])
async def test_live_lanes_of_heavy_projections_take_turns(settings, platform, admin, monkeypatch, is_heavy, most):
    monkeypatch.setattr("projections.engine.os.cpu_count", lambda: 2)
    monkeypatch.setattr(Heavy, "most", 0)
    names = ["one", "other"]
    both = [type(f"Heavy{name}", (Heavy,), {"NAME": name, "IS_HEAVY": is_heavy})() for name in names]
    async with engine_of(settings, both):
        await until_caught_up(admin, names)
        for _ in range(3):
            await create_many(platform, 5)
            await until_caught_up(admin, names)
    assert Heavy.most == most
    assert await counts(admin, "one") == await counts(admin, "other") == {"acme": 15}


async def test_many_wake_ups_in_a_moment_are_few(settings):
    woken = []
    async with open_engine(settings) as engine:
        wake_lanes = engine._wake_lanes
        engine._wake_lanes = lambda: (woken.append(time.monotonic()), wake_lanes())
        for _ in range(100):
            engine.wake()
            await asyncio.sleep(0.001)
        last = time.monotonic()
        await asyncio.sleep(0.05)
    assert 2 <= len(woken) < 50
    assert woken[-1] >= last - 0.001  # what the last wake-up told of was looked at after it


async def test_a_fold_that_fails_stops_its_own_lane_says_why_and_goes_on_when_it_is_mended(settings, platform, admin):
    failing = Failing()

    async def has_failed_twice() -> bool:
        (lane,) = await lanes(admin, "failing")
        return lane["failures"] >= 2

    async with engine_of(settings, [failing, Counted()]):
        await create_many(platform, 5)
        await until_caught_up(admin, ["counted"])
        await until(has_failed_twice, "two failures are shown")
        (lane,) = await lanes(admin, "failing")
        assert (lane["position"], lane["error"]) == (0, "ValueError")
        assert await counts(admin, "failing") == {}
        failing.is_mended = True
        await until_caught_up(admin, ["failing"])
        (lane,) = await lanes(admin, "failing")
        assert (lane["failures"], lane["error"]) == (0, None)
    assert await counts(admin, "failing") == {"acme": 5}


def in_four_lanes() -> type[KnowledgeEntryListView]:
    """The view in four lanes, each at a pace of its own."""
    chance = random.Random(3)  # noqa: S311 - a pace, not a secret
    slow = slowly(KnowledgeEntryListView, 4, lambda: chance.uniform(0, 0.02))

    class InFourLanes(slow):  # type: ignore[valid-type,misc]  # a class made of another
        NAME = "entries_in_lanes"
        LANES = 4

    return InFourLanes


async def test_a_projection_of_four_lanes_is_rebuilt_again_and_again(settings, platform, admin):
    view = in_four_lanes()()
    await create_many(platform, 30)
    async with engine_of(settings, [view]):
        await until_caught_up(admin, [view.NAME])
        for generation in (2, 3, 4):
            await rebuild(admin, [view])
            await asyncio.sleep(0.2)
            assert await live_generation(admin, view.NAME) == generation
            assert len((await stored_tables(admin, view, generation))["entries"]) == 30
