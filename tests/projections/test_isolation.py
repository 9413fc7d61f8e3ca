"""A suspected lane runs in a child: the event that ends its process is parked, and nothing else is."""

from collections.abc import Sequence

import pytest

from projections.generations import ensure_live
from tests.projections.counting import Listed, logged_positions, positions
from tests.projections.engines import engine_of, until_caught_up
from tests.projections.hostile import DEATHS, Hostile, opening
from tests.projections.sending import create, create_many
from varve.lane_child import target_of


async def parked(admin) -> list[tuple[int, str | None]]:
    cursor = await admin.execute("select position, error from varve.parked where projection = 'hostile' order by 1")
    return await cursor.fetchall()


async def suspect(admin, pool, *projections) -> None:
    """Have the lanes look as if their worker was lost."""
    async with pool.connection() as connection:
        await ensure_live(connection, projections)
    names = [projection.NAME for projection in projections]
    await admin.execute("update varve.leases set losses = 1 where projection = any (%s)", (names,))


async def hostile_lists(admin) -> Sequence[int]:
    cursor = await admin.execute("select unnest(positions) from read_models.hostile_1_lists order by 1")
    return [position for (position,) in await cursor.fetchall()]


async def logged(admin) -> Sequence[int]:
    cursor = await admin.execute(
        "select position from varve.events where topic like 'knowledge.KnowledgeEntry%' order by 1"
    )
    return [position for (position,) in await cursor.fetchall()]


async def test_a_suspected_lane_in_which_nothing_is_wrong_comes_back(settings, platform, admin, projector_pool):
    await create_many(platform, 30)
    await suspect(admin, projector_pool, Listed())
    async with engine_of(settings, [Listed()], child_target=target_of(settings, opening)):
        await until_caught_up(admin, ["listed"])
        await create_many(platform, 5)
        await until_caught_up(admin, ["listed"])
    assert await positions(admin, "listed") == await logged_positions(admin)
    cursor = await admin.execute("select sum(losses) from varve.leases")
    assert await cursor.fetchone() == (0,)


@pytest.mark.parametrize("name", ["loops in C", "sleeps", "leaves", "eats memory"])
async def test_the_event_that_ends_its_process_is_parked_alone(settings, platform, admin, projector_pool, name):
    await create_many(platform, 10)
    await create(platform, name)
    await create_many(platform, 10)
    await suspect(admin, projector_pool, Hostile())
    async with engine_of(settings, [Hostile()], child_target=target_of(settings, opening)):
        await until_caught_up(admin, ["hostile"])
    ((position, error),) = await parked(admin)
    assert error == DEATHS[name]
    assert await hostile_lists(admin) == [each for each in await logged(admin) if each != position]
