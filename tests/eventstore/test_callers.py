"""Callers who go away, and an appender that stops: nothing is lost or doubled, and whoever waits is told."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import psycopg
import pytest

from eventstore.appender_thread import AppenderThread
from eventstore.batch_appender import BatchAppender, open_batch_appender
from eventstore.errors import AppenderBusy, StoreUnavailable
from eventstore.prepare import PreparedAppend
from eventstore.records import Appended, Counter
from eventstore.waiting import BatchLimits
from tests.builders.prepared import command, prepared, row
from tests.eventstore.protocol_proxy import Proxy, Trap, open_proxy
from varve.settings import Settings

WAIT_SECONDS = 0.4


@pytest.fixture
async def proxy(settings: Settings) -> AsyncIterator[Proxy]:
    async with open_proxy(settings.role_url("varve_writer")) as proxy:
        yield proxy


@pytest.fixture
def url(settings: Settings, proxy: Proxy) -> str:
    return proxy.url(settings.role_url("varve_writer"))


@pytest.fixture
async def appender(url: str) -> AsyncIterator[BatchAppender]:
    async with open_batch_appender(url) as appender:
        await appender.append(prepared(row("first")))
        yield appender


@pytest.fixture
def stored(admin):
    async def streams() -> list[str]:
        rows = await admin.execute("select stream from varve.events where stream <> 'first' order by position")
        return [stream for (stream,) in await rows.fetchall()]

    return streams


async def in_flight(proxy: Proxy, appender: BatchAppender, append: PreparedAppend, message: str = "B"):
    """Append, and return when the call is held."""
    trap = proxy.set(Trap(message))
    appending = asyncio.create_task(appender.append(append))
    async with asyncio.timeout(5):
        await trap.reached.wait()
    return trap, appending


@asynccontextmanager
async def locked(settings: Settings) -> AsyncIterator[None]:
    """Hold the lock of the log."""
    async with await psycopg.AsyncConnection.connect(settings.required_database_url()) as connection:
        await connection.execute("select pg_advisory_xact_lock(7235419873250117)")
        yield
        await connection.rollback()


async def cancelled(task: "asyncio.Task[Appended]") -> None:
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


async def test_a_caller_who_goes_before_the_append_was_sent_leaves_nothing(proxy, appender, stored):
    trap, sent = await in_flight(proxy, appender, prepared(row("sent")))
    waiting = [asyncio.create_task(appender.append(prepared(row(name)))) for name in ("a", "b", "c")]
    await asyncio.sleep(0)
    await cancelled(waiting[1])
    trap.release()
    await asyncio.gather(sent, waiting[0], waiting[2])
    assert await stored() == ["sent", "a", "c"]


async def test_a_caller_who_goes_while_it_is_in_flight_leaves_it_as_it_is(proxy, appender, stored):
    append = prepared(row("s"), command=command())
    trap, appending = await in_flight(proxy, appender, append)
    await cancelled(appending)
    trap.release()
    again = await appender.append(append)
    assert again.is_repeated
    assert await stored() == ["s"]


@pytest.mark.parametrize("message", ["B", "E", "S", "answer"])
async def test_a_caller_who_goes_while_the_connection_is_made_again_loses_and_doubles_nothing(
    proxy, appender, stored, message
):
    append = prepared(row("s"), command=command())
    trap, appending = await in_flight(proxy, appender, append, message)
    proxy.refuses = True
    trap.cut()
    await asyncio.sleep(0.1)
    await cancelled(appending)
    proxy.refuses = False
    again = await appender.append(append)
    assert again.is_repeated == (message == "answer")
    assert await stored() == ["s"]


async def test_others_of_the_batch_do_not_notice_who_went(proxy, appender, stored):
    trap, held = await in_flight(proxy, appender, prepared(row("held")))
    tasks = [asyncio.create_task(appender.append(prepared(row(f"s{number}")))) for number in range(9)]
    await asyncio.sleep(0)
    for task in tasks[::2]:
        await cancelled(task)
    trap.cut()
    await asyncio.gather(held, *tasks[1::2])
    assert sorted(await stored()) == ["held", "s1", "s3", "s5", "s7"]


async def test_whoever_waits_when_the_appender_stops_is_told_and_whoever_comes_later_too(proxy, url, stored):
    async with open_batch_appender(url) as appender:
        await appender.append(prepared(row("first")))
        _, sent = await in_flight(proxy, appender, prepared(row("sent")))
        waiting = asyncio.create_task(appender.append(prepared(row("waiting"))))
        await asyncio.sleep(0)
        began = time.perf_counter()
    assert time.perf_counter() - began < 1
    for task in (sent, waiting):
        with pytest.raises(StoreUnavailable):
            await task
    with pytest.raises(StoreUnavailable):
        await appender.append(prepared(row("late")))
    assert await stored() == []


async def test_the_threads_that_wait_when_their_appender_is_closed_are_told(url, proxy):
    thread = AppenderThread(url)
    await asyncio.to_thread(thread.append, prepared(row("first")))
    trap = proxy.set(Trap("B"))
    appending = asyncio.create_task(asyncio.to_thread(thread.append, prepared(row("s"))))
    await trap.reached.wait()
    await asyncio.to_thread(thread.close)
    with pytest.raises(StoreUnavailable):
        await appending


async def test_all_who_wait_for_a_database_that_is_away_are_told_in_time(proxy, url):
    """More of them than a batch holds, and each kind of absence: refused, and never answered."""
    limits = BatchLimits(appends=4, wait_seconds=WAIT_SECONDS)
    async with open_batch_appender(url, limits=limits) as appender:
        proxy.refuses = True
        began = time.perf_counter()
        outcomes = await asyncio.gather(
            *(appender.append(prepared(row(f"s{number}"))) for number in range(40)), return_exceptions=True
        )
        assert time.perf_counter() - began < WAIT_SECONDS + 0.5
    assert [type(outcome) for outcome in outcomes] == [StoreUnavailable] * 40


async def test_all_who_wait_for_a_server_that_never_answers_are_told_in_time(tmp_path, settings):
    silent = await asyncio.start_unix_server(lambda *_: asyncio.sleep(60), tmp_path / ".s.PGSQL.5432")
    limits = BatchLimits(appends=4, wait_seconds=WAIT_SECONDS)
    url = f"host={tmp_path} user=nobody dbname=nothing"
    async with silent, open_batch_appender(url, limits=limits) as appender:
        began = time.perf_counter()
        outcomes = await asyncio.gather(
            *(appender.append(prepared(row(f"s{number}"))) for number in range(40)), return_exceptions=True
        )
        assert time.perf_counter() - began < WAIT_SECONDS + 0.5
    assert [type(outcome) for outcome in outcomes] == [StoreUnavailable] * 40


async def test_all_who_wait_for_a_lock_that_is_not_given_back_are_told_in_time(settings, url, stored):
    """The lock is taken before there is a connection, so that not even its beginning gets through."""
    limits = BatchLimits(appends=4, wait_seconds=WAIT_SECONDS)
    async with open_batch_appender(url, limits=limits) as appender, open_batch_appender(url) as patient:
        async with locked(settings):
            began = time.perf_counter()
            waiting = asyncio.create_task(patient.append(prepared(row("patient"))))
            outcomes = await asyncio.gather(
                *(appender.append(prepared(row(f"s{number}"))) for number in range(20)), return_exceptions=True
            )
            assert time.perf_counter() - began < 2 * WAIT_SECONDS + 0.5
        await waiting
    assert [type(outcome) for outcome in outcomes] == [StoreUnavailable] * 20
    assert await stored() == ["patient"]


async def test_a_full_queue_is_busy_and_stores_nothing_of_the_append(proxy, url, stored):
    async with open_batch_appender(url, limits=BatchLimits(waiting_appends=2)) as appender:
        await appender.append(prepared(row("first")))
        trap, held = await in_flight(proxy, appender, prepared(row("held")))
        tasks = [asyncio.create_task(appender.append(prepared(row(f"s{number}")))) for number in range(5)]
        outcomes = [await asyncio.gather(task, return_exceptions=True) for task in tasks[2:]]
        trap.release()
        await asyncio.gather(held, *tasks[:2])
    assert [type(outcome) for (outcome,) in outcomes] == [AppenderBusy] * 3
    assert await stored() == ["held", "s0", "s1"]


async def test_the_same_prepared_append_given_twice_answers_both(appender, stored):
    append = prepared(row("s"), command=command())
    first, second = await asyncio.gather(appender.append(append), appender.append(append))
    assert (first.position, first.is_repeated, second.is_repeated) == (second.position, False, True)
    assert await stored() == ["s"]


async def test_counters_that_come_again_beside_a_lost_connection_are_stored_once(appender, proxy, stored, admin):
    """The first halves of a batch are stored or come again, then the connection is lost: nothing is queued twice."""
    await admin.execute("alter table varve.events add constraint no_evil check (topic <> 'evil')")
    trap = proxy.set(Trap("B", skips=3))
    appends = [prepared(row(None, topic=f"{add} more"), counters=(Counter("quota", add, 9),)) for add in (1, 50, 2)]
    appends += [prepared(row(None, topic="free")), prepared(row(None, topic="evil")), prepared(row(None, topic="last"))]
    tasks = [asyncio.create_task(appender.append(append)) for append in appends]
    await trap.reached.wait()
    trap.cut()
    await asyncio.gather(*tasks, return_exceptions=True)
    topics = await admin.execute("select topic from varve.events where stream is null order by topic")
    assert [topic for (topic,) in await topics.fetchall()] == ["1 more", "2 more", "free", "last"]
