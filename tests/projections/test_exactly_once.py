"""Every event is applied once and in order, whatever happens to the engine in the middle."""

import asyncio
import random

import pytest

from tests.builders import actors
from tests.fixtures.engine import running
from tests.projections.counting import Counted, Listed, Paused, Sliced, counts, logged_positions, positions
from tests.projections.engines import engine_of, lane_of, lanes, leased, until, until_caught_up
from tests.projections.sending import create, create_many


class Interruption(Exception):
    """Falls on an engine at a named point."""


async def test_engines_that_are_stopped_in_the_middle_apply_every_event_once(settings, platform, admin):
    chance = random.Random(5)  # noqa: S311 - when to stop, not a secret

    async def write() -> None:
        for number in range(120):
            await create(platform, f"layer {number}", chance.choice([actors.ANN, actors.EVE]))
            await asyncio.sleep(0.01)

    async with running(write()) as writing:
        stopped = 0
        while not writing.done():
            async with engine_of(settings, [Counted(), Listed()], window_size=7):
                await asyncio.sleep(chance.uniform(0.02, 0.2))
            stopped += 1
    async with engine_of(settings, [Counted(), Listed()], window_size=7):
        await until_caught_up(admin, ["counted", "listed"])
    assert stopped > 2
    expected = await logged_positions(admin)
    assert sum(map(len, expected.values())) == 120
    assert await positions(admin, "listed") == expected
    assert await counts(admin, "counted") == {tenant: len(found) for tenant, found in expected.items()}


@pytest.mark.parametrize("point", ["rows_written", "committed"])
async def test_an_error_at_a_named_point_leaves_every_event_applied_once(settings, platform, admin, point):
    seen = []

    def interrupt(step: str) -> None:
        if step == point:
            seen.append(step)
            if len(seen) in {1, 2, 5, 6}:
                raise Interruption

    await create_many(platform, 40)
    async with engine_of(settings, [Counted(), Listed()], window_size=15, on_step=interrupt):
        await until_caught_up(admin, ["counted", "listed"])
    assert await positions(admin, "listed") == await logged_positions(admin)
    assert await counts(admin, "counted") == {"acme": 40}


@pytest.mark.parametrize("after_writing", [False, True], ids=["before its rows", "after its rows"])
async def test_a_worker_that_was_paused_past_its_lease_writes_nothing(
    settings, platform, admin, projector_pool, after_writing
):
    paused = Paused(after_writing=after_writing)
    async with engine_of(settings, [paused]):
        await until_caught_up(admin, ["paused"])
    await create_many(platform, 5)
    lease = await leased(projector_pool, paused, "the paused one", 0.2)
    lane = lane_of(paused, lease, projector_pool)
    async with running(lane.run()) as task:
        await paused.has_stopped.wait()
        other = Counted()
        other.NAME = "paused"  # type: ignore[misc]  # the same projection, in a worker that does not pause
        async with engine_of(settings, [other]):
            await until(lambda: _has_other_owner(admin), "the lane is taken over")
            if after_writing:
                paused.may_go_on.set()  # its open transaction holds the rows, until it is refused
            await until_caught_up(admin, ["paused"])
            paused.may_go_on.set()
            async with asyncio.timeout(5):
                await task  # it ends by itself: the lease is lost
        assert await counts(admin, "paused") == {"acme": 5}


async def _has_other_owner(admin) -> bool:
    (lane,) = await lanes(admin, "paused")
    return lane["fence"] > 1 and str(lane["owner"]).startswith("engine")


async def test_a_long_stretch_of_the_log_is_committed_in_slices(settings, platform, admin):
    sliced = Sliced()
    await create_many(platform, 10)
    seen = []
    async with engine_of(settings, [sliced], on_step=seen.append):
        await until_caught_up(admin, ["sliced"])
    assert sliced.sizes == [3, 3, 3, 1]
    assert seen.count("committed") == 4
    assert await positions(admin, "sliced") == await logged_positions(admin)
