"""While somebody holds a snapshot open, PostgreSQL keeps all that was deleted since: checkpoints still move at once."""

import pytest

from projections.generations import ensure_live
from projections.leases import acquire, advance
from tests.projections.counting import Counted
from tests.projections.engines import lanes

MANY = 3_000
PAGES_AT_MOST = 20
"""Walking along all that is kept would be some hundreds."""


async def pages_read(connection, query: str) -> int:
    cursor = await connection.execute(f"explain (analyze, buffers, format json) {query}")
    [plan] = (await cursor.fetchone())[0]
    return plan["Plan"]["Shared Hit Blocks"] + plan["Plan"]["Shared Read Blocks"]


@pytest.fixture
async def moved(projector_pool, held_snapshot):
    """A lane whose checkpoint has moved many times."""
    async with projector_pool.connection() as connection:
        await ensure_live(connection, [Counted()])
        [lease] = await acquire(connection, "worker", {"counted": Counted().definition()}, 60)
        for position in range(MANY):
            await advance(connection, lease, position, position + 1)


async def test_the_newest_checkpoint_is_found_among_those_that_are_kept(moved, admin):
    (lane,) = await lanes(admin, "counted")
    assert lane["position"] == MANY
    assert await pages_read(admin, "select position from varve.lanes where projection = 'counted'") <= PAGES_AT_MOST


async def test_there_is_one_checkpoint_of_a_lane(moved, admin):
    cursor = await admin.execute("select position from varve.checkpoints where projection = 'counted'")
    assert await cursor.fetchall() == [(MANY,)]
