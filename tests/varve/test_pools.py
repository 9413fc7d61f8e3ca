"""Connections of a pool: none is lent in the middle of a pipeline, and who waits has one when the server is back."""

import asyncio

import pytest

from varve.pools import open_pool

END_SESSIONS = """
select pg_terminate_backend(pid, 10_000) from pg_stat_activity
where datname = current_database() and usename <> current_user
"""


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


async def test_one_that_waits_alone_has_a_connection_soon_after_the_server_takes_some_again(pool, admin):
    ((database,),) = await (await admin.execute("select current_database()")).fetchall()
    await pool.wait()
    await admin.execute(f"alter database {database} connection limit 0")
    await admin.execute(END_SESSIONS)
    asked = asyncio.create_task(pid_of(pool))
    await asyncio.sleep(4)  # longer than the pool tries by itself
    assert not asked.done()
    await admin.execute(f"alter database {database} connection limit -1")
    async with asyncio.timeout(4):
        assert await asked
