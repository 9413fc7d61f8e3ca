"""A connection that is lost in the middle of an append: the same append again has one effect."""

import asyncio

import psycopg
import pytest

from eventstore.append import Appender
from tests.builders.appends import append_of, key
from tests.builders.entries import created

LOCK = 7235419873250117
WAITING = "select pid from pg_stat_activity where usename = 'varve_writer' and wait_event = 'advisory'"


async def kill_the_waiting_appends(admin):
    async with asyncio.timeout(10):
        while not (pids := await (await admin.execute(WAITING)).fetchall()):  # noqa: ASYNC110 - a server is watched
            await asyncio.sleep(0.01)
    for (pid,) in pids:
        await admin.execute("select pg_terminate_backend(%s, 5000)", (pid,))
    return len(pids)


@pytest.fixture
async def held_lock(settings):
    """The log's lock, held by a connection of ours; release it by ending its transaction."""
    async with await psycopg.AsyncConnection.connect(settings.required_database_url()) as connection:
        await connection.execute("select pg_advisory_xact_lock(%s)", (LOCK,))
        yield connection


@pytest.mark.parametrize("idempotency_key", [None, key()], ids=["by its id", "by its key"])
async def test_killed_while_it_waits_for_the_lock(appender: Appender, admin, held_lock, idempotency_key):
    appending = asyncio.create_task(appender.append(append_of({"a": [created()]}, key=idempotency_key)))
    for _ in range(2):
        assert await kill_the_waiting_appends(admin) == 1
    await held_lock.rollback()
    appended = await appending
    assert (appended.position, appended.is_repeated) == (1, False)
    assert await (await admin.execute("select count(*) from varve.events")).fetchone() == (1,)
    assert await (await admin.execute("select count(*) from varve.commands")).fetchone() == (1,)


async def test_killed_after_it_was_stored_and_before_it_was_answered(appender: Appender, admin, settings):
    append = append_of({"a": [created()]})
    first = await appender.append(append)
    await admin.execute(
        "select pg_terminate_backend(pid, 5000) from pg_stat_activity where usename = 'varve_writer'"
        " and datname = current_database()"
    )
    again = await appender.append(append)
    assert (again.position, again.is_repeated) == (first.position, True)
    assert await (await admin.execute("select count(*) from varve.events")).fetchone() == (1,)


async def test_many_appends_survive_kills_each_once(appender: Appender, admin):
    async def kill_some():
        while True:
            await asyncio.sleep(0.1)
            await admin.execute(
                "select pg_terminate_backend(pid) from pg_stat_activity where usename = 'varve_writer'"
                " and datname = current_database() order by random() limit 1"
            )

    killer = asyncio.create_task(kill_some())
    names = [f"s{number}" for number in range(60)]

    await asyncio.gather(*(appender.append(append_of({name: [created()]})) for name in names))
    killer.cancel()
    await asyncio.gather(killer, return_exceptions=True)
    rows = await (
        await admin.execute("select stream, version, position from varve.events order by position")
    ).fetchall()
    assert sorted(row[0] for row in rows) == sorted(names)
    assert [row[2] for row in rows] == list(range(1, 61))
