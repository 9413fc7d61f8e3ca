"""Wake-ups arrive, also after the connections that carry them were lost."""

import asyncio

import pytest

from eventstore.wake import CHANNEL, WakeListener, WakeSender
from tests.fixtures.engine import running


@pytest.fixture
async def woken(settings):
    """Sender and listener at work, and the event that is set by every wake-up."""
    event = asyncio.Event()
    sender = WakeSender(settings.role_url("varve_writer"))
    listener = WakeListener(settings.role_url("varve_projector"), {CHANNEL: event.set})
    async with running(sender.run()), running(listener.run()):
        await until_set(event)  # the listener calls back once when it is connected
        event.clear()
        yield sender, event


async def until_set(event):
    async with asyncio.timeout(10):
        await event.wait()


async def test_a_wake_up_arrives(woken):
    sender, event = woken
    sender.wake()
    await until_set(event)


async def test_nothing_arrives_unasked(woken):
    _, event = woken
    await asyncio.sleep(0.2)
    assert not event.is_set()


@pytest.mark.parametrize("role", ["varve_writer", "varve_projector"])
async def test_wake_ups_arrive_again_after_a_lost_connection(woken, admin, role):
    sender, event = woken
    sender.wake()
    await until_set(event)
    await admin.execute(
        "select pg_terminate_backend(pid, 5000) from pg_stat_activity"
        " where usename = %s and datname = current_database()",
        (role,),
    )
    event.clear()
    async with asyncio.timeout(10):
        while not event.is_set():
            sender.wake()
            await asyncio.sleep(0.05)


async def test_a_listener_that_reconnects_looks_once_by_itself(woken, admin):
    _, event = woken
    await admin.execute(
        "select pg_terminate_backend(pid, 5000) from pg_stat_activity where usename = 'varve_projector'"
        " and datname = current_database()"
    )
    await until_set(event)
