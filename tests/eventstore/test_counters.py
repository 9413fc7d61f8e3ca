"""Counters of appends that come at once: added up in order, given back, and refused with the value that was found."""

import asyncio
from collections.abc import AsyncIterator, Sequence

import pytest

from eventstore.batch_appender import BatchAppender, open_batch_appender
from eventstore.errors import CounterLimited
from eventstore.records import Counter
from tests.builders.prepared import prepared, row
from varve.settings import Settings


@pytest.fixture
async def appender(settings: Settings) -> AsyncIterator[BatchAppender]:
    async with open_batch_appender(settings.role_url("varve_writer")) as appender:
        yield appender


async def at_once(appender: BatchAppender, adds: Sequence[int], limit: int) -> list[object]:
    """Add to one counter by appends of one batch."""
    appends = (prepared(row(None), counters=(Counter("quota", add, limit),)) for add in adds)
    return await asyncio.gather(*map(appender.append, appends), return_exceptions=True)


async def value(admin) -> int:
    return (await (await admin.execute("select value from varve.counters")).fetchone())[0]


async def test_what_was_counted_can_be_given_back(appender, admin):
    await at_once(appender, [3], limit=5)
    await at_once(appender, [-2], limit=5)
    assert await value(admin) == 1


async def test_more_than_there_is_can_not_be_given_back(appender, admin):
    await at_once(appender, [3], limit=5)
    [refused] = await at_once(appender, [-4], limit=5)
    assert isinstance(refused, CounterLimited)
    assert await value(admin) == 3


async def test_appends_of_one_batch_are_counted_in_their_order(appender, admin):
    outcomes = await at_once(appender, [4, 2, -3, 4, 1], limit=5)
    assert [isinstance(outcome, CounterLimited) for outcome in outcomes] == [False, True, False, False, True]
    assert await value(admin) == 5


async def test_a_refusal_tells_the_value_that_the_append_found(appender):
    outcomes = await at_once(appender, [2, 2, 9], limit=5)
    assert isinstance(outcomes[2], CounterLimited)
    assert vars(outcomes[2]) == {"counter": "quota", "value": 4, "limit": 5}


async def test_of_many_that_want_the_last_slots_so_many_get_one(appender, admin):
    outcomes = await at_once(appender, [1] * 64, limit=10)
    assert [isinstance(outcome, CounterLimited) for outcome in outcomes] == [False] * 10 + [True] * 54
    assert await value(admin) == 10
