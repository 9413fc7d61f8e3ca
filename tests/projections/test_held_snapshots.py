"""While somebody holds a snapshot open, PostgreSQL keeps all that was deleted since: checkpoints still move at once."""

import json

import pytest

from projections.generations import ensure_live
from projections.leases import advance
from tests.projections.counting import Counted
from tests.projections.engines import lanes, leased
from varve.pools import open_pool

MANY = 3_000
PAGES_AT_MOST = 20
"""Walking along all that is kept would be some hundreds."""


async def pages_read(connection, query: str) -> int:
    await connection.execute(query)  # planning reads the catalogue
    cursor = await connection.execute(f"explain (analyze, buffers, format json) {query}")
    [plan] = (await cursor.fetchone())[0]
    return plan["Plan"]["Shared Hit Blocks"] + plan["Plan"]["Shared Read Blocks"]


async def rows_scanned(admin) -> int:
    """How many rows were read by going through the whole table."""
    await admin.execute("select pg_stat_force_next_flush()")
    cursor = await admin.execute("select seq_tup_read from pg_stat_user_tables where relname = 'checkpoints'")
    return int((await cursor.fetchone())[0])


@pytest.fixture
async def moved(projector_pool, held_snapshot):
    """A lane whose checkpoint has moved many times."""
    async with projector_pool.connection() as connection:
        await ensure_live(connection, [Counted()])
    lease = await leased(projector_pool, Counted(), "worker", 60)
    async with projector_pool.connection() as connection:
        for position in range(MANY):
            await advance(connection, lease, position, position + 1)
    return lease


async def test_the_newest_checkpoint_is_found_among_those_that_are_kept(moved, admin):
    (lane,) = await lanes(admin, "counted")
    assert lane["position"] == MANY
    assert await pages_read(admin, "select position from varve.lanes where projection = 'counted'") <= PAGES_AT_MOST


async def test_it_is_found_by_a_plan_that_knows_how_few_rows_are_in_how_many_pages(moved, admin):
    await admin.execute("vacuum analyze varve.checkpoints")
    assert await pages_read(admin, "select position from varve.lanes where projection = 'counted'") <= PAGES_AT_MOST


async def test_a_reader_is_told_of_it_without_reading_the_others(moved, admin, settings):
    await admin.execute("vacuum analyze varve.checkpoints")
    async with open_pool(settings, "varve_reader", 1) as pool, pool.connection() as connection:
        asked = "select reading from varve.reading_by_key('acme', 'counted')"
        ((said,),) = await (await connection.execute(asked)).fetchall()
        assert json.loads(said)["models"]["counted"][3] == MANY
        assert await pages_read(connection, asked) <= PAGES_AT_MOST


async def test_it_moves_on_without_reading_the_others(moved, admin, projector_pool):
    await admin.execute("vacuum analyze varve.checkpoints")
    async with projector_pool.connection() as connection:
        before = await rows_scanned(admin)
        await advance(connection, moved, MANY, MANY + 1)
    (lane,) = await lanes(admin, "counted")
    assert lane["position"] == MANY + 1
    assert await rows_scanned(admin) - before == 0


async def test_there_is_one_checkpoint_of_a_lane(moved, admin):
    cursor = await admin.execute("select position from varve.checkpoints where projection = 'counted'")
    assert await cursor.fetchall() == [(MANY,)]
