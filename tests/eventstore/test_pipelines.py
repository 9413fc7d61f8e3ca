"""Transactions in a pipeline: all or nothing, whatever fails and whenever that is noticed."""

import psycopg
import pytest

from eventstore.pipelines import pipelined_transaction
from varve.pools import open_pool

DIVIDED = "insert into numbers select 1 / (n - n) from (values (1)) v (n)"


@pytest.fixture
async def connection(settings, admin):
    await admin.execute("create table public.numbers (n integer)")
    await admin.execute("grant all on public.numbers to varve_projector")
    async with open_pool(settings, "varve_projector", 1) as pool, pool.connection() as opened:
        await opened.execute("set search_path to public")
        yield opened


async def numbers(admin) -> list[int]:
    return [n for (n,) in await (await admin.execute("select n from public.numbers order by n")).fetchall()]


async def test_what_is_written_is_there_at_the_end_and_can_be_fetched_before(connection, admin):
    async with pipelined_transaction(connection):
        await connection.execute("insert into numbers values (1)")
        cursor = await connection.execute("insert into numbers values (2) returning n")
        assert await cursor.fetchall() == [(2,)]
        assert await numbers(admin) == []
    assert await numbers(admin) == [1, 2]


async def test_a_statement_that_fails_takes_the_whole_transaction_with_it(connection, admin):
    with pytest.raises(psycopg.errors.DivisionByZero):
        await write(connection, "insert into numbers values (1)", DIVIDED, "insert into numbers values (2)")
    assert await numbers(admin) == []
    await is_of_use(connection, admin)


async def test_it_is_that_statements_error_which_a_later_fetch_raises(connection, admin):
    with pytest.raises(psycopg.errors.DivisionByZero):
        await write(connection, DIVIDED, "select 1", at_end=fetch)
    await is_of_use(connection, admin)


async def test_an_exception_of_the_block_undoes_what_was_written(connection, admin):
    with pytest.raises(LookupError):
        await write(connection, "insert into numbers values (1)", at_end=fail)
    assert await numbers(admin) == []
    await is_of_use(connection, admin)


async def test_a_lost_connection_is_told_of_and_nothing_is_written(connection, admin):
    async def lose(_: psycopg.AsyncCursor) -> None:
        await admin.execute("select pg_terminate_backend(%s)", (connection.info.backend_pid,))
        await fetch(await connection.execute("select 1"))

    with pytest.raises(psycopg.OperationalError):
        await write(connection, "insert into numbers values (1)", at_end=lose)
    assert await numbers(admin) == []


async def test_a_connection_that_is_lost_at_the_pipeline_s_end_is_called_lost_as_anywhere(connection, admin):
    async def lost_at_the_end() -> None:
        async with connection.pipeline():
            await connection.execute("insert into numbers values (1)")
            await admin.execute("select pg_terminate_backend(%s, 5000)", (connection.info.backend_pid,))

    with pytest.raises(psycopg.OperationalError):
        await lost_at_the_end()
    assert await numbers(admin) == []


async def write(connection, *statements: str, at_end=None) -> None:
    async with pipelined_transaction(connection):
        for statement in statements:
            cursor = await connection.execute(statement)
        if at_end is not None:
            await at_end(cursor)


async def fetch(cursor: psycopg.AsyncCursor) -> None:
    await cursor.fetchall()


async def fail(_: psycopg.AsyncCursor) -> None:
    raise LookupError


async def is_of_use(connection, admin) -> None:
    assert connection.info.transaction_status == psycopg.pq.TransactionStatus.IDLE
    async with pipelined_transaction(connection):
        await connection.execute("insert into numbers values (3)")
    assert await numbers(admin) == [3]
