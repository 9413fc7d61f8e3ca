"""What every projection promises: the same rows in one lane and in eight, in every order in which these take turns."""

import random
from contextlib import AsyncExitStack

import pytest

from projections.definition import Projection
from projections.knowledge.document_jobs import DocumentJobs
from projections.registry import READ_MODELS
from tests.projections.comparing import stored_tables
from tests.projections.counting import slowly
from tests.projections.engines import engine_of, lanes, until_caught_up
from tests.projections.folding import fold, refold, variant
from tests.projections.history import History
from tests.projections.spec import MANY_LANES, assert_same
from tests.projections.views import read_models


@pytest.mark.parametrize("seed", [3, 20260301])
async def test_one_lane_and_eight_that_take_turns_at_random_write_the_same_rows(
    settings, platform, admin, projector_pool, embedding, seed
):
    await History(platform, seed).write(60)
    for projection in read_models(settings, embedding.wake):
        one, many = variant(projection, "alone", LANES=1), variant(projection, "in_lanes", LANES=MANY_LANES)
        await fold(projector_pool, one, seed=seed, most=50)
        await fold(projector_pool, many, seed=seed, most=20)
        await refold(projector_pool, many, seed=seed + 1, most=20)
        rows = await stored_tables(admin, one, 1)
        assert all(rows.values()), "the history writes to every table"
        assert len(await lanes(admin, many.NAME)) == 2 * MANY_LANES
        assert_same(await stored_tables(admin, many, 1), rows)
        assert_same(await stored_tables(admin, many, 2), rows)


async def test_eight_lanes_that_two_workers_share_write_the_rows_of_one(
    settings, platform, admin, projector_pool, embedding
):
    chance = random.Random(7)  # noqa: S311 - a pace, not a secret

    def at_any_pace(projection: type[Projection]) -> type[Projection]:
        return slowly(projection, 8, lambda: chance.uniform(0, 0.02))

    slow = [variant(each, "in_lanes", LANES=MANY_LANES) for each in read_models(settings, embedding.wake, at_any_pace)]
    names = [each.NAME for each in slow]
    async with AsyncExitStack() as stack:
        for window_size in (5, 11):
            await stack.enter_async_context(engine_of(settings, slow, window_size=window_size))
        await History(platform, seed=11).write(80)
        await until_caught_up(admin, names)
        held = await lanes(admin, *names)
    assert len(held) == MANY_LANES * len(READ_MODELS)
    assert len({lane["owner"] for lane in held}) == 2
    for projection, many in zip(read_models(settings, embedding.wake), slow, strict=True):
        one = variant(projection, "alone", LANES=1)
        await fold(projector_pool, one, seed=1, most=50)
        assert_same(await stored_tables(admin, many, 1), await stored_tables(admin, one, 1))


@pytest.mark.parametrize("seed", [3, 4])
async def test_the_reactor_writes_the_same_work_in_one_lane_and_in_eight(platform, admin, projector_pool, seed):
    await History(platform, seed).write(40)
    jobs = []
    for number in (1, MANY_LANES):
        await fold(projector_pool, variant(DocumentJobs(lambda: None), f"in_{number}", LANES=number), seed=seed, most=9)
        cursor = await admin.execute("delete from varve.jobs returning tenant, kind, reference, position, payload")
        jobs.append(sorted(map(repr, await cursor.fetchall())))
    assert jobs[0] == jobs[1] != []
