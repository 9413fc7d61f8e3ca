"""A stream of the log, read window by window as it was when it was opened."""

from datetime import timedelta

import pytest

from domain.knowledge.entry import ENTRY
from domain.knowledge.events import KnowledgeEntryCreated, KnowledgeEntryDeleted, KnowledgeEntryUpdated
from eventstore.stream_reader import BEFORE_FIRST, TenantStreams
from tests.builders.appends import append_of
from tests.builders.entries import ENTRY_ID, created, deleted, linked, updated
from varve.bootstrap import event_types

STREAM = ENTRY.stream(ENTRY_ID)


def versions(events):
    return [recorded.version for recorded in events]


@pytest.fixture
def streams(platform):
    return TenantStreams(platform.reader_pool, event_types())


@pytest.fixture
def append(platform):
    """Append events to the stream, each call in a transaction of its own."""

    async def append_events(*events, after=0):
        return await platform.commands._appender.append(append_of({STREAM: events}, after=after))

    return append_events


async def test_a_stream_that_is_not_there_is_empty(streams):
    stream = await streams.stream("acme", STREAM)
    assert (stream.position, stream.last_version) == (0, BEFORE_FIRST)
    assert await stream.window() == []
    assert versions([recorded async for recorded in stream.events()]) == []
    assert await stream.latest([KnowledgeEntryCreated]) == []


async def test_another_tenants_stream_is_empty(streams, append):
    await append(created())
    stream = await streams.stream("umbra", STREAM)
    assert (stream.position, stream.last_version, await stream.window()) == (1, BEFORE_FIRST, [])


async def test_windows_follow_one_another(streams, append):
    await append(created(), *(linked(f"relation {number}") for number in range(6)))
    stream = await streams.stream("acme", STREAM)
    assert versions(await stream.window(limit=3)) == [1, 2, 3]
    assert versions(await stream.window(after=3, limit=3)) == [4, 5, 6]
    assert versions(await stream.window(after=6, limit=3)) == [7]
    assert versions(await stream.window(after=7, limit=3)) == []
    assert versions(await stream.window(after=3, through=5)) == [4, 5]


async def test_all_events_come_in_order_over_many_windows(streams, append):
    await append(created(), *(linked(f"relation {number}") for number in range(1200)))
    stream = await streams.stream("acme", STREAM)
    assert versions([recorded async for recorded in stream.events()]) == list(range(1, 1202))
    assert versions([recorded async for recorded in stream.events(through=700)]) == list(range(1, 701))


async def test_a_window_of_long_events_has_fewer_and_at_least_one(streams, append):
    long = "x" * 1_000_000
    await append(
        created(), *(updated(changed=("description",), description=f"{number}{long}"[:-1]) for number in range(10))
    )
    stream = await streams.stream("acme", STREAM)
    assert versions(await stream.window()) == list(range(1, 10))
    assert versions(await stream.window(after=9)) == [10, 11]
    assert versions([recorded async for recorded in stream.events()]) == list(range(1, 12))


async def test_what_is_appended_later_is_not_among_its_events(streams, append):
    await append(created(), linked())
    stream = await streams.stream("acme", STREAM)
    await append(deleted(), after=2)
    assert (stream.position, stream.last_version) == (2, 2)
    assert versions(await stream.window()) == [1, 2]
    assert versions([recorded async for recorded in stream.events(through=9)]) == [1, 2]
    assert await stream.latest([KnowledgeEntryDeleted]) == []
    assert await stream.version_at((await stream.window())[0].recorded_at + timedelta(days=1)) == 2


async def test_the_latest_of_each_kind_come_once_and_in_order(streams, append):
    await append(created(), updated(changed=("name",)), linked(), updated(changed=("name",)), linked("contradicts"))
    stream = await streams.stream("acme", STREAM)
    births, descriptions = [KnowledgeEntryCreated], [KnowledgeEntryCreated, KnowledgeEntryUpdated]
    assert versions(await stream.latest(births, descriptions)) == [1, 4]
    assert versions(await stream.latest(descriptions, births)) == [1, 4]
    assert versions(await stream.latest(births, births, [KnowledgeEntryDeleted])) == [1]


async def test_the_version_at_a_moment_is_that_of_the_last_event_before_or_at_it(streams, append):
    await append(created())
    await append(linked(), linked("contradicts"), after=1)
    stream = await streams.stream("acme", STREAM)
    first, second, _ = [recorded.recorded_at for recorded in await stream.window()]
    instant = timedelta(microseconds=1)
    moments = [first - instant, first, second - instant, second, second + instant]
    assert [await stream.version_at(moment) for moment in moments] == [BEFORE_FIRST, 1, 1, 3, 3]
