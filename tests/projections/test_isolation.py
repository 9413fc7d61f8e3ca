"""A suspected lane runs in a child: the event that ends its process is parked, and nothing else is."""

import contextlib
from collections.abc import Sequence

import psycopg
import pytest

from projections.generations import ensure_live, start_rebuild
from tests.projections.counting import Listed, logged_positions, positions
from tests.projections.engines import engine_of, until, until_caught_up, until_live
from tests.projections.hostile import DEATHS, IN_DECODING, Hostile, HostileCounts, opening
from tests.projections.sending import create, create_many
from varve.lane_child import target_of
from workers.lane_children import ForkedLaneChildren

_SECONDS = 240.0
"""On a busy machine processes take long to start."""


async def parked(admin, projection: str = Hostile.NAME) -> list[tuple[int, int, str | None]]:
    cursor = await admin.execute(
        "select generation, position, error from varve.parked where projection = %s order by 1, 2", (projection,)
    )
    return await cursor.fetchall()


async def suspect(admin, pool, projection) -> None:
    """Make the projection's first generation, and have its lane look as if its worker was lost."""
    async with pool.connection() as connection:
        await ensure_live(connection, [projection])
    await admin.execute("update varve.leases set losses = 1 where projection = %s", (projection.NAME,))


async def listed(admin) -> Sequence[int]:
    cursor = await admin.execute("select unnest(positions) from read_models.hostile_1_lists order by 1")
    return [position for (position,) in await cursor.fetchall()]


async def logged(admin) -> list[int]:
    cursor = await admin.execute(
        "select position from varve.events where topic like 'knowledge.KnowledgeEntry%' order by 1"
    )
    return [position for (position,) in await cursor.fetchall()]


@pytest.fixture
def isolated(settings):
    """Run an engine of one projection whose suspected lanes run in children."""

    def start(projection):
        return engine_of(settings, [projection], child_target=target_of(settings, opening))

    return start


async def test_a_suspected_lane_in_which_nothing_is_wrong_comes_back(isolated, platform, admin, projector_pool):
    await create_many(platform, 30)
    await suspect(admin, projector_pool, Listed())
    async with isolated(Listed()):
        await until_caught_up(admin, ["listed"], _SECONDS)
        await create_many(platform, 5)
        await until_caught_up(admin, ["listed"], _SECONDS)
    assert await positions(admin, "listed") == await logged_positions(admin)
    cursor = await admin.execute("select losses from varve.leases where projection = 'listed'")
    assert await cursor.fetchone() == (0,)


@pytest.mark.parametrize("name", ["loops in C", "sleeps", "leaves", "crashes", "eats memory"])
async def test_the_event_that_ends_its_process_is_parked_alone(isolated, platform, admin, projector_pool, name):
    await create_many(platform, 5)
    await create(platform, name)
    await create_many(platform, 5)
    await suspect(admin, projector_pool, Hostile())
    async with isolated(Hostile()):
        await until_caught_up(admin, ["hostile"], _SECONDS)
    ((_, position, error),) = await parked(admin)
    assert error == DEATHS[name]
    assert await listed(admin) == [each for each in await logged(admin) if each != position]


async def test_several_in_several_streams_are_parked_one_after_the_other(isolated, platform, admin, projector_pool):
    for name in ("leaves", "crashes", "leaves"):
        await create_many(platform, 2)
        await create(platform, name)
    await suspect(admin, projector_pool, Hostile())
    async with isolated(Hostile()):
        await until_caught_up(admin, ["hostile"], _SECONDS)
    found = await parked(admin)
    assert [error for _, _, error in found] == ["killed", "killed", "killed"]
    assert await listed(admin) == sorted(set(await logged(admin)) - {position for _, position, _ in found})


async def test_a_generation_whose_fill_ends_its_process_is_filled_without_the_event(
    isolated, platform, admin, projector_pool
):
    counts = HostileCounts()
    await create_many(platform, 5)
    await create(platform, "leaves")
    await create_many(platform, 5)
    await suspect(admin, projector_pool, counts)
    async with projector_pool.connection() as connection:
        await start_rebuild(connection, counts)
    await admin.execute("update varve.leases set losses = 1 where projection = 'hostile_counts'")
    async with isolated(counts):
        await until_live(admin, "hostile_counts", 2)
    assert [(generation, error) for generation, _, error in await parked(admin, "hostile_counts")] == [
        (1, "killed"),
        (2, "killed"),
    ]
    cursor = await admin.execute("select sum(count) from read_models.hostile_counts_2_streams")
    assert await cursor.fetchone() == (10,)


async def test_an_event_that_ended_its_process_is_retried_in_a_child(isolated, platform, admin, projector_pool):
    await create(platform, "leaves")
    await suspect(admin, projector_pool, Hostile())
    async with isolated(Hostile()):
        await until_caught_up(admin, ["hostile"], _SECONDS)
        await admin.execute("update varve.parked set is_to_retry = true")

        async def was_retried() -> bool:
            cursor = await admin.execute("select attempts, is_to_retry, error from varve.parked")
            return await cursor.fetchone() == (3, False, "killed")

        await until(was_retried, "the event was tried in a child again", _SECONDS)


async def test_an_event_that_hangs_in_decoding_is_parked_and_retried_in_a_child(
    isolated, platform, admin, projector_pool
):
    await create_many(platform, 3)
    await create(platform, IN_DECODING)
    await create_many(platform, 3)
    await suspect(admin, projector_pool, Hostile())
    async with isolated(Hostile()):
        await until_caught_up(admin, ["hostile"], _SECONDS)
        ((_, position, error),) = await parked(admin)
        assert error == "hung"
        assert await listed(admin) == [each for each in await logged(admin) if each != position]
        await admin.execute("update varve.parked set is_to_retry = true")

        async def was_retried() -> bool:
            cursor = await admin.execute("select attempts > 2, is_to_retry, error from varve.parked")
            return await cursor.fetchone() == (True, False, "hung")

        await until(was_retried, "the event was tried in a child again", _SECONDS)


async def test_a_lane_that_runs_out_of_memory_is_tried_in_a_child_before_anything_is_parked(
    isolated, platform, admin, monkeypatch
):
    """The memory may be another lane's."""

    def fail() -> None:
        raise MemoryError

    await create_many(platform, 3)
    monkeypatch.setattr("tests.projections.hostile.FOLDS", {"entry 1": fail})  # of this process alone
    async with isolated(Hostile()):
        await create(platform, "entry 1")
        await until_caught_up(admin, ["hostile"], _SECONDS)
    assert await parked(admin) == []
    assert await listed(admin) == await logged(admin)


async def test_a_child_is_not_hung_that_says_nothing_while_the_server_was_away(settings, projector_pool):
    children = ForkedLaneChildren(target_of(settings, opening), "worker", projector_pool)
    since_before_it_was_started = 1e9
    with pytest.raises(psycopg.OperationalError, match="started meanwhile"):
        await children._is_at_work("a child", since_before_it_was_started)

    async def is_idle() -> bool:
        return not await children._is_at_work("a child", 0.1)

    await until(lambda: _unless_away(is_idle), "the server has been there for some seconds")


async def _unless_away(condition) -> bool:
    with contextlib.suppress(psycopg.OperationalError):
        return await condition()
    return False
