"""The log is read in bounded windows: what is asked for, all of it, in order, and never from the wrong index."""

import re
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import psycopg
import pytest

from domain.knowledge.events import KnowledgeEntryCreated, KnowledgeEntryDeleted, KnowledgeEntryLinked
from eventstore.append import Appender
from eventstore.errors import UnknownEventType
from eventstore.log import BEFORE_WINDOW, LogReader, UnknownEvent, Window
from eventstore.log_filter import EVERYTHING, LogFilter, Span, window_query
from eventstore.mapper import EventTypes
from eventstore.records import EventMetadata, RecordedEvent
from eventstore.slots import SLOTS, SlotRange, slot_of
from tests.builders.appends import CORRELATION_ID, append_of
from tests.builders.entries import created, deleted, linked
from tests.projections.counting import Counted
from varve.bootstrap import event_types
from varve.settings import Settings

CREATED, DELETED, LINKED = KnowledgeEntryCreated.TOPIC, KnowledgeEntryDeleted.TOPIC, KnowledgeEntryLinked.TOPIC
FILTERS = {
    "everything": EVERYTHING,
    "a topic": LogFilter(topics=frozenset({LINKED})),
    "topics": LogFilter(topics=frozenset({CREATED, DELETED, "knowledge.NeverStored"})),
    "a tenant": LogFilter(tenant="umbra"),
    "topics of a tenant": LogFilter(topics=frozenset({CREATED, LINKED}), tenant="umbra"),
    "streams of a slot": LogFilter(slots=SlotRange(80, 170)),
    "tenants of a slot": LogFilter(slots=SlotRange(128, 255, by="tenant")),
    "topics of a slot": LogFilter(topics=frozenset({CREATED, DELETED}), slots=SlotRange(171, 255)),
    "all at once": LogFilter(frozenset({CREATED}), "acme", SlotRange(0, 127), leaves_out_voided=True),
}
STREAMS = 12


@pytest.fixture
async def connection(settings: Settings) -> AsyncIterator[psycopg.AsyncConnection[Any]]:
    """A connection of the role that projections are run by."""
    url = settings.role_url("varve_projector")
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as opened:
        yield opened


@pytest.fixture
async def log(appender: Appender, connection) -> list[RecordedEvent]:
    """Events of two tenants in several streams, as a reader without limits reads them."""
    for number in range(STREAMS):
        tenant = "umbra" if number % 3 == 0 else "acme"
        events = [created(), linked(), deleted()] if number % 2 else [created()]
        await appender.append(append_of({f"entry-层-{number}": events}, tenant=tenant))
    return list((await LogReader(event_types()).window(connection, 0, 1000)).events)


async def windows(reader: LogReader, connection, wanted: LogFilter = EVERYTHING, limit: int = 5) -> list[Window]:
    """Read up to the head."""
    found = [await reader.window(connection, 0, limit, wanted)]
    while found[-1].is_full:
        found.append(await reader.window(connection, found[-1].scanned_to, limit, wanted))
    return found


def wanted_by(wanted: LogFilter, recorded: RecordedEvent) -> bool:
    return (
        (not wanted.topics or recorded.event.TOPIC in wanted.topics)
        and wanted.tenant in {None, recorded.tenant}
        and (wanted.slots is None or wanted.slots.takes(recorded.tenant, recorded.stream))
    )


@pytest.mark.parametrize("name", FILTERS)
async def test_a_filtered_reader_reads_what_it_wants_and_comes_to_the_head(log, connection, name):
    wanted = FILTERS[name]
    found = await windows(LogReader(event_types(), span=7), connection, wanted, limit=3)
    assert [event for window in found for event in window.events] == [
        event for event in log if wanted_by(wanted, event)
    ]
    assert found[-1].scanned_to == log[-1].position


async def test_no_window_scans_further_than_its_span(log, connection):
    nothing = LogFilter(tenant="nobody")
    found = await windows(LogReader(event_types(), span=10), connection, nothing)
    assert [(window.scanned_to, window.is_full) for window in found] == [(10, True), (20, True), (24, False)]


async def test_a_filter_that_matches_nothing_comes_to_the_head_at_once(log, connection):
    window = await LogReader(event_types()).window(connection, 0, 5, LogFilter(topics=frozenset({"none.Such"})))
    assert (window.events, window.scanned_to, window.is_full) == ([], log[-1].position, False)


async def test_a_reader_at_the_head_or_beyond_it_stays_where_it_is(log, connection):
    for after in (24, 30):
        window = await LogReader(event_types()).window(connection, after, 5)
        assert (window.events, window.scanned_to, window.is_full) == ([], after, False)


async def test_slots_are_those_of_a_projection(log):
    for event in log:
        found = [number for number in range(SLOTS) if SlotRange(number, number).takes(event.tenant, event.stream)]
        assert found == [slot_of(Counted().partition(event))]


async def test_the_server_and_python_agree_on_the_hash_of_a_key(connection):
    for key in ("", "acme", "acme/entry-1", "Schicht 层 🪨", "acme/None"):
        cursor = await connection.execute("select crc32(convert_to(%s, 'UTF8'))", (key,))
        assert await cursor.fetchone() == (zlib.crc32(key.encode()),)


@pytest.mark.parametrize("limit", [3, 5, 100])
@pytest.mark.parametrize("wanted", [EVERYTHING, FILTERS["topics"]], ids=["everything", "topics"])
async def test_a_window_holds_no_more_bytes_than_it_may_save_for_one_event(
    appender: Appender, connection, wanted, limit
):
    most = 4_000
    for number, size in enumerate([10, 900, 900, 9_000, 10, 3_000, 3_000, 200_000, 10, 1_500, 1_500, 10]):
        await appender.append(append_of({f"s{number}": [created(description="x" * size)]}))
    cursor = await connection.execute("select octet_length(data) + octet_length(metadata) from varve.events order by 1")
    assert max(await cursor.fetchall()) > (most,)
    sizes = dict(
        await (
            await connection.execute("select position, octet_length(data) + octet_length(metadata) from varve.events")
        ).fetchall()
    )
    found = await windows(LogReader(event_types(), octets=most), connection, wanted, limit)
    whole = await LogReader(event_types()).window(connection, 0, 100)
    assert [event for window in found for event in window.events] == whole.events
    assert [event.position for event in whole.events] == list(range(1, 13))
    for window in found:
        assert len(window.events) == 1 or sum(sizes[event.position] for event in window.events) <= most
    assert len(found) < 12


class Interrupted(psycopg.AsyncConnection[Any]):
    """A connection where something happens before its second transaction."""

    between: Callable[[], Awaitable[Any]]
    transactions = 0

    @asynccontextmanager
    async def pipeline(self) -> AsyncIterator[psycopg.AsyncPipeline]:
        self.transactions += 1
        if self.transactions == 2:
            await self.between()
        async with super().pipeline() as pipeline:
            yield pipeline


async def test_a_window_is_of_one_history_also_when_its_large_events_are_read_after_a_failover(log, settings, admin):
    async with await Interrupted.connect(settings.role_url("varve_projector"), autocommit=True) as connection:
        connection.between = lambda: admin.execute("select varve.mark_restored()")
        window = await LogReader(event_types(), octets=1_000).window(connection, 0, 100)
    (epoch,) = await (await admin.execute("select epoch from varve.log_epochs order by number desc limit 1")).fetchone()
    assert (window.epoch, connection.transactions) == (epoch, 4)
    assert list(window.events) == log[: len(window.events)]


async def test_events_before_an_unknown_one_are_delivered_first(log, connection):
    older = LogReader(EventTypes(KnowledgeEntryCreated, KnowledgeEntryLinked))
    window = await older.window(connection, 0, 100)
    assert [event.position for event in window.events] == [1, 2, 3]
    assert (window.scanned_to, window.is_full) == (3, True)
    with pytest.raises(UnknownEvent) as unknown:
        await older.window(connection, 3, 100)
    assert vars(unknown.value) == {"topic": DELETED, "class_version": 1, "position": 4}
    assert (await older.window(connection, unknown.value.position, 100)).events[0].position == 5


async def test_what_is_unknown_and_not_wanted_is_no_trouble(log, connection):
    older = LogReader(EventTypes(KnowledgeEntryCreated))
    (window,) = await windows(older, connection, LogFilter(topics=frozenset({CREATED})), limit=100)
    assert len(window.events) == STREAMS


async def test_an_event_that_does_not_fit_its_class_holds_back_none_before_it(log, connection, admin):
    await admin.execute("set session_replication_role = replica")
    await admin.execute("update varve.events set data = '{}' where position = 3")
    reader = LogReader(event_types())
    assert (await reader.window(connection, 0, 100)).scanned_to == 2
    with pytest.raises(ValueError, match="entry_id"):
        await reader.window(connection, 2, 100)


async def test_metadata_are_decoded_when_they_are_asked_for(log, connection, admin):
    assert log[0].metadata == EventMetadata(actor="ann", command_type="TestCommand", correlation_id=CORRELATION_ID)
    await admin.execute("set session_replication_role = replica")
    await admin.execute("update varve.events set metadata = '{}' where position = 3")
    events = (await LogReader(event_types()).window(connection, 0, 100)).events
    assert [event.event for event in events] == [event.event for event in log]
    with pytest.raises(ValueError, match="actor"):
        _ = events[2].metadata


async def test_voided_events_are_left_out_for_those_who_ask(log, connection, admin):
    await admin.execute("insert into varve.voided (tenant, position, voided_by) values ('acme', 2, 24)")
    await admin.execute("insert into varve.voided (tenant, position, voided_by) values ('another tenant', 5, 24)")
    reader = LogReader(event_types())
    effective = await reader.window(connection, 0, 100, LogFilter(leaves_out_voided=True))
    assert [event.position for event in effective.events] == [1, *range(3, 25)]
    assert len((await reader.window(connection, 0, 100)).events) == 24


async def test_a_window_tells_the_history_that_it_is_of(log, connection, admin):
    (epoch,) = await (await admin.execute("select epoch from varve.log_epochs")).fetchone()
    window = await LogReader(event_types()).window(connection, 0, 100)
    assert window.epoch == epoch


async def test_an_unknown_event_is_an_unknown_event_type():
    assert issubclass(UnknownEvent, UnknownEventType)


async def test_each_filter_is_read_from_one_index_in_its_order(admin, connection):
    await admin.execute(MANY)
    await admin.execute("analyze varve.events")
    assert {name: await indexes(connection, wanted) for name, wanted in FILTERS.items()} == {
        "everything": {"events_position_key"},
        "a topic": {"events_topic_position"},
        "topics": {"events_topic_position"},
        "a tenant": {"events_pkey"},
        "topics of a tenant": {"events_pkey"},
        "streams of a slot": {"events_position_key"},
        "tenants of a slot": {"events_position_key"},
        "topics of a slot": {"events_topic_position"},
        "all at once": {"events_pkey"},
    }


MANY = """
insert into varve.events (tenant, position, stream, version, topic, class_version, data, metadata, recorded_at)
select 'tenant-' || (n * 7919 % 64), n, 'entry-' || n, 1, 'knowledge.Topic' || (n * 104729 % 12), 1,
       convert_to(repeat('x', 300), 'UTF8'), '{}', timestamptz '2026-01-01' + n * interval '1 second'
from generate_series(1::bigint, 20000) n
"""


async def indexes(connection, wanted: LogFilter) -> set[str]:
    """Return the indexes that a window is read from, each in its order."""
    query, parameters = window_query(wanted, Span(0, 100_000, 1000, 4_000_000))
    async with connection.transaction():
        await connection.execute(BEFORE_WINDOW)
        query = with_placeholders(query, list(parameters))
        cursor = await connection.execute(f"explain (generic_plan) {query}".encode())
        plan = "\n".join(line for (line,) in await cursor.fetchall())
    assert "Sort  " not in plan, plan
    return set(re.findall(r"using (events_\w+) on events", plan))


def with_placeholders(query: str, names: list[str]) -> str:
    types = {
        "after": "bigint",
        "upto": "bigint",
        "share": "bigint",
        "voided_by": "bigint",
        "slot": "int",
        "slots": "int",
        "topics": "text[]",
    }
    for number, name in enumerate(names, start=1):
        query = query.replace(f"%({name})s", f"${number}::{types.get(name, 'text')}")
    return query.replace("%%", "%")
