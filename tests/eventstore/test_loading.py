import pytest

from domain.knowledge.entry import ENTRY
from domain.shared.ids import uuid7
from eventstore.append import Appender
from eventstore.errors import UnknownEventType
from eventstore.load import AggregateRepository
from eventstore.log import LogReader
from eventstore.mapper import EventTypes, PydanticMapper
from tests.builders.appends import append_of
from tests.builders.entries import ENTRY_ID, created, deleted, linked
from tests.spec import state_after
from varve.bootstrap import event_types

STREAM = ENTRY.stream(ENTRY_ID)


@pytest.fixture
def repository(writer_pool):
    return AggregateRepository(writer_pool, PydanticMapper(event_types()))


async def test_an_aggregate_is_loaded_as_its_events_left_it(appender: Appender, repository):
    history = [created(), linked(), deleted()]
    await appender.append(append_of({STREAM: history}))
    loaded = await repository.load(ENTRY, "acme", ENTRY_ID)
    assert (loaded.stream, loaded.version, loaded.state) == (STREAM, 3, state_after(ENTRY, *history))


async def test_what_has_no_events_is_absent(repository):
    loaded = await repository.load(ENTRY, "acme", uuid7(0))
    assert (loaded.version, loaded.state) == (0, None)


async def test_another_tenants_aggregate_is_absent(appender: Appender, repository):
    await appender.append(append_of({STREAM: [created()]}))
    assert (await repository.load(ENTRY, "umbra", ENTRY_ID)).state is None


async def test_an_event_of_newer_code_is_named(appender: Appender, writer_pool):
    await appender.append(append_of({STREAM: [created(), deleted()]}))
    older = EventTypes(type(created()))
    with pytest.raises(UnknownEventType) as unknown:
        await AggregateRepository(writer_pool, PydanticMapper(older)).load(ENTRY, "acme", ENTRY_ID)
    assert vars(unknown.value) == {"topic": "knowledge.KnowledgeEntryDeleted", "class_version": 1, "version": 2}


async def test_a_newer_version_of_an_event_is_named(appender: Appender, repository, admin):
    await appender.append(append_of({STREAM: [created()]}))
    await admin.execute("set session_replication_role = replica")
    await admin.execute("update varve.events set class_version = 2")
    with pytest.raises(UnknownEventType):
        await repository.load(ENTRY, "acme", ENTRY_ID)


async def test_a_reader_of_the_log_names_what_it_does_not_know(appender: Appender, admin):
    await appender.append(append_of({STREAM: [created()]}))
    with pytest.raises(UnknownEventType):
        await LogReader(EventTypes()).window(admin, 0, 10)


async def test_a_stored_name_is_never_imported(appender: Appender, admin):
    await appender.append(append_of({STREAM: [created()]}))
    await admin.execute("set session_replication_role = replica")
    await admin.execute("update varve.events set topic = 'antigravity:fly'")
    with pytest.raises(UnknownEventType):
        await LogReader(event_types()).window(admin, 0, 10)


async def test_windows_of_the_log_follow_each_other(appender: Appender, admin):
    await appender.append(append_of({f"s{number}": [created()] for number in range(5)}))
    reader = LogReader(event_types())
    after, positions, fullness = 0, [], []
    for _ in range(4):
        window = await reader.window(admin, after, 2)
        positions += [event.position for event in window.events]
        fullness.append(window.is_full)
        after = window.scanned_to
    assert (positions, fullness, after) == ([1, 2, 3, 4, 5], [True, True, False, False], 5)
