"""Checkpoints of lanes that had nothing to apply move together, each by its own lease."""

import asyncio

import psycopg
import pytest

from projections.checkpoints import Checkpoints
from projections.generations import ensure_live
from projections.leases import LeaseLostError
from tests.projections.counting import named
from tests.projections.engines import lanes, leased

NAMES = ("one", "two", "three", "four", "five")


@pytest.fixture
async def leases(projector_pool):
    projections = [named(name) for name in NAMES]
    async with projector_pool.connection() as connection:
        await ensure_live(connection, projections)
    return [await leased(projector_pool, projection, "worker", 60) for projection in projections]


async def positions(admin) -> dict[str, int]:
    return {lane["projection"]: lane["position"] for lane in await lanes(admin, *NAMES)}


async def test_each_that_waits_is_moved(leases, projector_pool, admin):
    checkpoints = Checkpoints(projector_pool)
    await asyncio.gather(*(checkpoints.move(lease, 0, 7) for lease in leases))
    assert await positions(admin) == dict.fromkeys(NAMES, 7)
    await asyncio.gather(*(checkpoints.move(lease, 7, 8 + number) for number, lease in enumerate(leases)))
    assert await positions(admin) == {name: 8 + number for number, name in enumerate(NAMES)}
    await checkpoints.close()


async def test_they_share_a_commit(leases, projector_pool, admin):
    checkpoints = Checkpoints(projector_pool)
    await asyncio.gather(*(checkpoints.move(lease, 0, 7) for lease in leases))
    cursor = await admin.execute("select count(distinct xmin::text) from varve.checkpoints where position = 7")
    ((transactions,),) = await cursor.fetchall()
    assert transactions == 1


async def test_one_whose_lease_is_lost_is_told_and_the_others_move(leases, projector_pool, admin):
    await admin.execute("update varve.leases set fence = fence + 1 where projection = 'two'")
    checkpoints = Checkpoints(projector_pool)
    outcomes = await asyncio.gather(*(checkpoints.move(lease, 0, 7) for lease in leases), return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [type(None), LeaseLostError, *[type(None)] * 3]
    assert await positions(admin) == {**dict.fromkeys(NAMES, 7), "two": 0}


async def test_one_that_is_elsewhere_does_not_move(leases, projector_pool, admin):
    with pytest.raises(LeaseLostError):
        await Checkpoints(projector_pool).move(leases[0], 3, 7)
    assert await positions(admin) == dict.fromkeys(NAMES, 0)


async def test_all_that_wait_are_told_when_the_database_is_away(leases, projector_pool, admin):
    await admin.execute("alter table varve.checkpoints rename to hidden")
    checkpoints = Checkpoints(projector_pool)
    outcomes = await asyncio.gather(*(checkpoints.move(lease, 0, 7) for lease in leases), return_exceptions=True)
    assert all(isinstance(outcome, psycopg.Error) for outcome in outcomes)
    await admin.execute("alter table varve.hidden rename to checkpoints")
    await asyncio.gather(*(checkpoints.move(lease, 0, 7) for lease in leases))
    assert await positions(admin) == dict.fromkeys(NAMES, 7)
