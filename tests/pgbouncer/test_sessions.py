"""What a pooled session is: shared between clients, limited, and without anything that outlives a transaction."""

import asyncio
import random
from contextlib import suppress

import psycopg
import pytest

from eventstore.stream_reader import SET_TENANT
from tests.pgbouncer.server import SERVER_CONNECTIONS
from varve.migrate import migrate
from varve.pools import open_pool, session_limits
from varve.settings import LOGIN_ROLES

CLIENTS = 8
ROUNDS = 12
END_READERS = """
select pg_terminate_backend(pid) from pg_stat_activity
where usename = 'varve_reader' and datname = current_database()
"""
QUESTION = "select %s::integer * 2"


@pytest.fixture
async def pool(settings):
    """More connections than PgBouncer has to the server."""
    async with open_pool(settings, "varve_reader", CLIENTS) as opened:
        await opened.resize(CLIENTS)
        await opened.wait()
        yield opened


async def backend(connection) -> int:
    (pid,) = await (await connection.execute("select pg_backend_pid()")).fetchone()
    return int(pid)


async def test_the_limits_of_a_pooled_session_are_those_that_a_direct_one_asks_for(settings):
    for role in LOGIN_ROLES:
        names, shown = list(session_limits(role)), []
        for each in (settings, settings.without_pooler()):
            async with open_pool(each, role, 1) as opened, opened.connection() as connection:
                cursor = await connection.execute(
                    "select name, setting from pg_settings where name = any (%s)", [names]
                )
                shown.append(dict(await cursor.fetchall()))
        pooled, direct = shown
        assert pooled == direct, role
        assert set(pooled) == set(names)
        assert "0" not in pooled.values()


async def test_a_statement_that_takes_too_long_is_ended_through_the_pooler_too(settings, admin):
    await admin.execute("alter role varve_reader set statement_timeout = '200ms'")
    try:
        async with open_pool(settings, "varve_reader", 1) as opened, opened.connection() as connection:
            with pytest.raises(psycopg.errors.QueryCanceled):
                await connection.execute("select pg_sleep(5)")
    finally:
        await migrate(settings)  # puts the limits back
    async with open_pool(settings.without_pooler(), "varve_admin", 1) as opened, opened.connection() as connection:
        cursor = await connection.execute("select rolconfig from pg_roles where rolname = 'varve_reader'")
        assert "statement_timeout=30s" in (await cursor.fetchone())[0]


async def test_the_implicit_transaction_of_a_pipeline_stays_on_one_session(pool, admin):
    async def ask(tenant: str) -> list[tuple[int, str]]:
        async with pool.connection() as connection:
            async with connection.pipeline():
                await connection.execute(SET_TENANT, (tenant,))
                asked = []
                for _ in range(3):
                    asked.append(await connection.execute("select pg_backend_pid(), varve.tenant()"))
                    await connection.execute("select pg_sleep(%s)", (random.random() / 200,))  # noqa: S311 - a pause
            return [await cursor.fetchone() for cursor in asked]

    tenants = [f"tenant-{number}" for number in range(CLIENTS * ROUNDS)]
    answers = dict(zip(tenants, await asyncio.gather(*map(ask, tenants)), strict=True))
    for tenant, rows in answers.items():
        assert len(set(rows)) == 1, rows
        assert {found for _, found in rows} == {tenant}
    assert len({pid for rows in answers.values() for pid, _ in rows}) == SERVER_CONNECTIONS


async def test_a_transaction_in_a_pipeline_stays_on_one_session_and_leaves_nothing_behind(pool):
    async def ask(tenant: str) -> set[tuple[int, str, str]]:
        async with pool.connection() as connection:
            async with connection.pipeline():
                await connection.execute("begin isolation level repeatable read read only")
                await connection.execute(SET_TENANT, (tenant,))
                shown = "select pg_backend_pid(), varve.tenant(), current_setting('transaction_isolation')"
                asked = [await connection.execute(shown) for _ in range(3)]
                await connection.execute("commit")
            return {await cursor.fetchone() for cursor in asked}

    tenants = [f"tenant-{number}" for number in range(CLIENTS * ROUNDS)]
    for tenant, rows in zip(tenants, await asyncio.gather(*map(ask, tenants)), strict=True):
        ((_, found, isolation),) = rows
        assert (found, isolation) == (tenant, "repeatable read")

    async def ask_without_a_tenant() -> None:
        async with pool.connection() as connection:
            with pytest.raises(psycopg.Error, match="tenant"):
                await connection.execute("select varve.tenant()")

    await asyncio.gather(*(ask_without_a_tenant() for _ in tenants))


@pytest.mark.parametrize("fails", [False, True])
async def test_nothing_follows_the_sync_that_ends_a_pipeline(pool, tmp_path, fails):
    sent = tmp_path / "sent"
    async with pool.connection() as connection:
        with sent.open("w") as file:
            connection.pgconn.trace(file.fileno())
            with suppress(psycopg.errors.DivisionByZero):
                async with connection.pipeline():
                    await connection.execute("select pg_sleep(0.05)")  # so that not all is answered when it is sent
                    await connection.execute(QUESTION, (1,))
                    await connection.execute("select 1 / %s", (0 if fails else 1,))
            connection.pgconn.untrace()
    messages = [line.split("\t")[3] for line in sent.read_text().splitlines() if line.split("\t")[1] == "F"]
    assert messages[-1] == "Sync"
    assert messages.count("Execute") == 3


async def test_a_statement_that_fails_in_a_pipeline_leaves_the_session_to_others_in_order(pool):
    async def fail() -> None:
        async with pool.connection() as connection, connection.pipeline():
            await connection.execute("begin")
            await connection.execute(SET_TENANT, ("acme",))
            await connection.execute("select 1 / 0")
            await connection.execute("commit")

    async def be_refused() -> None:
        with pytest.raises(psycopg.errors.DivisionByZero):
            await fail()

    async def count(number: int) -> None:
        async with pool.connection() as connection:
            assert await (await connection.execute(QUESTION, (number,))).fetchone() == (number * 2,)

    await asyncio.gather(*(be_refused() if number % 3 == 0 else count(number) for number in range(CLIENTS * ROUNDS)))


async def test_a_prepared_statement_is_used_again_by_other_clients_on_other_sessions(pool):
    backends, asked = {}, asyncio.Barrier(CLIENTS)

    async def ask(client: int) -> None:
        async with pool.connection() as connection:
            await asked.wait()  # each client has a connection of its own
            for number in range(ROUNDS):
                async with connection.pipeline():
                    cursor = await connection.execute(QUESTION, (client + number,), prepare=True)
                    session = await connection.execute("select pg_backend_pid()")
                assert await cursor.fetchone() == ((client + number) * 2,)
                backends.setdefault(client, set()).add((await session.fetchone())[0])
                await asyncio.sleep(0)

    await asyncio.gather(*map(ask, range(CLIENTS)))
    assert any(len(seen) == SERVER_CONNECTIONS for seen in backends.values())  # one preparing, two sessions
    async with pool.connection() as connection:
        kept = await connection.execute("select statement from pg_prepared_statements", prepare=False)
        statements = [statement for (statement,) in await kept.fetchall()]
    assert statements.count("select $1::integer * 2") == 1  # of eight clients


async def test_a_client_that_drops_its_prepared_statements_leaves_those_of_others(pool):
    async with pool.connection() as one, pool.connection() as other:
        for connection in (one, other):
            assert await (await connection.execute(QUESTION, (4,), prepare=True)).fetchone() == (8,)
        for _ in range(3):
            async with one.transaction(force_rollback=True):  # after which the driver drops all of them
                await one.execute(QUESTION, (1,), prepare=True)
            for connection in (one, other):
                assert await (await connection.execute(QUESTION, (5,), prepare=True)).fetchone() == (10,)


async def test_migrating_again_locks_nobody_out(settings, pool, admin):
    async with pool.connection() as connection:
        before = await backend(connection)
    await migrate(settings)
    # What PgBouncer knows of a role's password is from the client's login before; now it has to log in once more.
    async with asyncio.timeout(5):
        while (await admin.execute(END_READERS)).rowcount:  # noqa: ASYNC110 - a server is watched
            await asyncio.sleep(0.05)
    async with pool.connection() as connection:
        assert await backend(connection) != before
