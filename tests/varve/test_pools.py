"""Connections of a pool: one that its last user left in the middle of a pipeline is not lent again."""

import pytest

from varve.pools import open_pool


@pytest.fixture
async def pool(settings):
    async with open_pool(settings, "varve_projector", 1) as opened:
        yield opened


async def pid_of(pool) -> int:
    async with pool.connection() as connection:
        ((pid,),) = await (await connection.execute("select pg_backend_pid()")).fetchall()
    return pid


async def test_a_good_connection_is_lent_again(pool):
    assert await pid_of(pool) == await pid_of(pool)


async def test_a_connection_in_pipeline_mode_is_replaced(pool):
    before = await pid_of(pool)
    connection = await pool.getconn()
    connection.pgconn.enter_pipeline_mode()  # as a pipeline that was cancelled at its end leaves it
    await pool.putconn(connection)
    assert await pid_of(pool) != before


async def test_a_connection_with_a_pipeline_that_did_not_end_is_replaced(pool):
    before = await pid_of(pool)
    connection = await pool.getconn()
    connection._pipeline = object()
    await pool.putconn(connection)
    assert await pid_of(pool) != before
