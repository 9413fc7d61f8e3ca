"""A client that stops, or whose connection is cut, at any message of the protocol: nobody waits for it for long, and
its callers learn the truth."""

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest

from eventstore.batch_appender import BatchAppender, open_batch_appender
from eventstore.errors import ClaimTaken, StoreUnavailable, StreamConflict
from eventstore.records import Appended, Claims
from eventstore.waiting import BatchLimits
from eventstore.writer_session import WriterSession
from tests.builders.prepared import command, prepared, row
from tests.eventstore.protocol_proxy import Proxy, Trap, open_proxy
from varve.settings import Settings

STEPS = {
    "before Bind": ("B", 0.0),
    "within Bind": ("B", 0.5),
    "before Describe": ("D", 0.0),
    "before Execute": ("E", 0.0),
    "within Execute": ("E", 0.5),
    "before Sync": ("S", 0.0),
    "within Sync": ("S", 0.5),
    "before the answer": ("answer", 0.0),
}
MOST_SECONDS = 1.0
SESSIONS = """
select pid from pg_stat_activity where application_name like 'varve appender%' and datname = current_database()
"""
BRIEFLY = BatchLimits(wait_seconds=0.4)
_UNDER_WAY_SECONDS = 0.1
"""Time for the server to do what it was sent before the trap."""


@pytest.fixture
async def proxy(settings: Settings) -> AsyncIterator[Proxy]:
    async with open_proxy(settings.role_url("varve_writer")) as proxy:
        yield proxy


@pytest.fixture
def open_held(settings: Settings, proxy: Proxy):
    """Open an appender behind the proxy that has its connection."""

    @asynccontextmanager
    async def opened(limits: BatchLimits = BatchLimits()) -> AsyncIterator[BatchAppender]:  # noqa: B008 - immutable
        async with open_batch_appender(proxy.url(settings.role_url("varve_writer")), limits=limits) as appender:
            await appender.append(prepared(row(f"first {uuid4()}")))
            yield appender

    return opened


@pytest.fixture
async def other(settings: Settings) -> AsyncIterator[BatchAppender]:
    """The appender of another process, as far as the server can tell."""
    async with open_batch_appender(settings.role_url("varve_writer")) as appender:
        await appender.append(prepared(row(f"first {uuid4()}")))
        yield appender


@pytest.fixture
def stored(admin: psycopg.AsyncConnection[Any]):
    """Return how often the events of a stream were stored."""

    async def count(stream: str) -> int:
        found = await admin.execute("select count(*) from varve.events where stream = %s", (stream,))
        return (await found.fetchone() or (0,))[0]

    return count


async def held_at(proxy: Proxy, step: str, appender: BatchAppender, append: Any) -> tuple[Trap, asyncio.Task[Appended]]:
    """Append, and return when the call is held at `step`."""
    message, passes = STEPS[step]
    trap = proxy.set(Trap(message, passes))
    appending = asyncio.create_task(appender.append(append))
    async with asyncio.timeout(5):
        await trap.reached.wait()
    await asyncio.sleep(_UNDER_WAY_SECONDS)
    return trap, appending


async def seconds_of(append: Any) -> float:
    began = time.perf_counter()
    await append
    return time.perf_counter() - began


async def test_a_client_that_stops_at_any_step_delays_others_by_a_second_at_most(open_held, proxy, other, stored):
    delays = {}
    async with open_held() as appender:
        for step in STEPS:
            trap, appending = await held_at(proxy, step, appender, prepared(row(step), command=command()))
            delays[step] = await seconds_of(other.append(prepared(row(f"beside {step}"))))
            trap.release()
            assert not (await appending).is_repeated or step == "before the answer"
            assert await stored(step) == 1, step
    assert {step: seconds for step, seconds in delays.items() if seconds > MOST_SECONDS} == {}


@pytest.mark.parametrize("record", [None, command], ids=["events alone", "with a command"])
async def test_a_client_that_is_cut_off_at_any_step_learns_that_its_append_is_durable(
    open_held, proxy, other, stored, record
):
    async with open_held() as appender:
        for step in STEPS:
            append = prepared(row(step), command=record() if record else None)
            trap, appending = await held_at(proxy, step, appender, append)
            trap.cut()
            delay = await seconds_of(other.append(prepared(row(f"beside {step}"))))
            appended = await appending
            assert delay < MOST_SECONDS
            assert await stored(step) == 1, step
            assert appended.position > 0


async def test_an_event_without_a_stream_is_stored_once_and_at_the_position_that_is_answered(open_held, proxy, admin):
    async with open_held() as appender:
        for step in STEPS:
            trap, appending = await held_at(proxy, step, appender, prepared(row(None, tags=(step,))))
            trap.cut()
            appended = await appending
            positions = await admin.execute("select position from varve.event_tags where tag = %s", (step,))
            assert await positions.fetchall() == [(appended.position,)], step


async def test_a_transaction_that_ends_before_its_commit_is_not_answered_as_stored(open_held, proxy, stored, admin):
    """The rows of a call come before its commit: a server that is told to end in between sends them and an error."""
    async with open_held() as appender:
        _, appending = await held_at(proxy, "before Sync", appender, prepared(row("s"), command=command()))
        [(pid,)] = await (await admin.execute(SESSIONS)).fetchall()
        await admin.execute("select pg_terminate_backend(%s, 5000)", (pid,))
        await appending
        assert await stored("s") == 1


async def test_whoever_gave_up_is_told_so_in_time_and_nothing_arrives_after_it_was_settled(
    open_held, proxy, settings, stored
):
    for step in STEPS:
        async with open_held(BRIEFLY) as appender:
            proxy.refuses = True
            append_id = uuid4()
            append = prepared(row(step), command=command(append_id))
            trap, appending = await held_at(proxy, step, appender, append)
            began = time.perf_counter()
            with pytest.raises(StoreUnavailable):
                await appending
            assert time.perf_counter() - began < MOST_SECONDS + BRIEFLY.wait_seconds
            result = await settled(settings, append_id)
            assert result == ("known" if step == "before the answer" else "abandoned"), step
            trap.release()
            await asyncio.sleep(0.05)
            assert await settled(settings, append_id) == result
            assert await stored(step) == (result == "known"), step
            proxy.refuses = False


async def settled(settings: Settings, append_id: UUID) -> str:
    """What another process finds, or makes, of an append."""
    session = await WriterSession.open(settings.role_url("varve_writer"))
    answer = await session.settle([("acme", append_id, True)], 0)
    await session.close()
    return str(answer.refusals["1"]["result"])


async def test_what_was_given_up_is_abandoned_as_soon_as_there_is_a_connection(open_held, proxy, stored, admin):
    async with open_held(BRIEFLY) as appender:
        proxy.refuses = True
        trap, appending = await held_at(proxy, "before Bind", appender, prepared(row("late"), command=command()))
        with pytest.raises(StoreUnavailable):
            await appending
        proxy.refuses = False
        await appender.append(prepared(row("next")))
        trap.release()
        await asyncio.sleep(0.05)
        statuses = await admin.execute("select status from varve.commands")
        assert await statuses.fetchall() == [("abandoned",)]
        assert await stored("late") == 0


async def test_what_was_abandoned_is_stored_once_when_it_is_sent_again(open_held, other, settings, stored):
    """A worker sends a job's command under the same id until it knows the outcome, and so does the next worker."""
    append_id = uuid4()
    assert await settled(settings, append_id) == "abandoned"
    append = prepared(row("again"), command=command(append_id))
    async with open_held() as appender:
        first, second = await asyncio.gather(appender.append(append), other.append(append))
        third = await appender.append(append)
    assert sorted([first.is_repeated, second.is_repeated]) == [False, True]
    assert third.is_repeated
    assert first.command_id == second.command_id == third.command_id != append_id
    assert await settled(settings, third.command_id) == "known"
    assert await stored("again") == 1


async def test_an_append_that_was_refused_when_it_was_sent_again_does_not_arrive_late(open_held, proxy, other, stored):
    """The claim was another's when it was sent again, and is free when the lost message reaches the server."""
    wanted = prepared(row("late"), claims=Claims(taken={"claim": "late"}), command=command())
    async with open_held() as appender:
        trap, appending = await held_at(proxy, "before Bind", appender, wanted)
        await other.append(prepared(row("holder"), claims=Claims(taken={"claim": "holder"})))
        trap.lose()
        with pytest.raises(ClaimTaken):
            await appending
        await other.append(prepared(row("holder", 2), claims=Claims(released=("claim",))))
        trap.release()
        await asyncio.sleep(0.05)
        assert await stored("late") == 0


async def test_a_session_that_can_not_be_ended_stores_nothing_twice(open_held, proxy, admin):
    """The server's process is stopped with the call half read, and goes on when the append was sent once more."""
    async with open_held() as appender:
        trap, appending = await held_at(proxy, "before Execute", appender, prepared(row(None, topic="once")))
        [(pid,)] = await (await admin.execute(SESSIONS)).fetchall()
        os.kill(pid, signal.SIGSTOP)
        try:
            trap.lose()
            await appending
        finally:
            os.kill(pid, signal.SIGCONT)
        trap.release()
        await asyncio.sleep(_UNDER_WAY_SECONDS)
        assert await (await admin.execute("select count(*) from varve.events where topic = 'once'")).fetchone() == (1,)


async def test_an_answer_that_is_lost_after_the_commit_doubles_nothing(open_held, proxy, admin):
    """An answer that is too long for the call itself is fetched by another one."""
    conflicting = [prepared(row("x" * 700 + f"{number}", 9)) for number in range(60)]
    async with open_held() as appender:
        trap = proxy.set(Trap("B", statement=b"answers"))
        tasks = [
            asyncio.create_task(appender.append(each)) for each in [*conflicting, prepared(row(None, topic="once"))]
        ]
        await trap.reached.wait()
        trap.cut()
        *conflicts, once = await asyncio.gather(*tasks, return_exceptions=True)
        assert {type(conflict) for conflict in conflicts} == {StreamConflict}
        assert isinstance(once, Appended)
        positions = await admin.execute("select position from varve.events where topic = 'once'")
        assert await positions.fetchall() == [(once.position,)]


async def test_a_client_that_does_not_read_a_long_answer_holds_nobody_up(open_held, proxy, other):
    repeated = [prepared(command=command(outcome={"text": "x" * 100_000})) for _ in range(40)]
    await asyncio.gather(*(other.append(append) for append in repeated))
    async with open_held() as appender:
        proxy.set(trap := Trap("answer"))
        appending = [asyncio.create_task(appender.append(append)) for append in repeated]
        await trap.reached.wait()
        await asyncio.sleep(_UNDER_WAY_SECONDS)
        assert await seconds_of(other.append(prepared(row("beside")))) < MOST_SECONDS
        trap.release()
        for appended in await asyncio.gather(*appending):
            assert appended.is_repeated
            assert appended.outcome == {"text": "x" * 100_000}
