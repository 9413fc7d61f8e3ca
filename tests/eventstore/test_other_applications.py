"""Other applications of the library on the same log: their events are passed by, whatever their topics say."""

import asyncio
from contextlib import closing
from dataclasses import replace
from uuid import UUID, uuid4

import pytest
from eventsourcing.application import Application
from eventsourcing.dcb.api import DCBEvent
from eventsourcing.dcb.application import DCBApplication
from eventsourcing.domain import Aggregate, event
from eventsourcing.persistence import ProgrammingError, StoredEvent

from domain.knowledge.entry import ENTRY
from domain.knowledge.events import KnowledgeEntryCreated
from eventstore.append import Appender
from eventstore.application import VarveApplication, with_events
from eventstore.claims import rebuild_claims, verify_claims
from eventstore.errors import InvalidAppend
from eventstore.load import AggregateRepository, stream_events
from eventstore.log import LogReader, UnknownEvent
from eventstore.log_filter import LogFilter
from eventstore.mapper import EventTypes, PydanticMapper
from eventstore.persistence import VarveFactory, acting_for
from eventstore.snapshots import AggregateTypes, Versioned
from eventstore.statistics import count_log
from eventstore.stream_reader import TenantStreams
from eventstore.subscribe import subscribe
from eventstore.voiding import EventVoided
from tests.builders.appends import append_of
from tests.builders.entries import ENTRY_ID, created
from tests.builders.unknown_events import append_unknown
from varve.bootstrap import event_types
from varve.settings import Settings

OURS = KnowledgeEntryCreated.TOPIC
STREAM = ENTRY.stream(ENTRY_ID)


@pytest.fixture(autouse=True)
def environment(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PERSISTENCE_MODULE", "eventstore.persistence")
    monkeypatch.setenv(VarveFactory.WRITER_DATABASE_URL, settings.role_url("varve_writer"))
    monkeypatch.setenv(VarveFactory.TENANT, "acme")
    monkeypatch.setenv(VarveFactory.ORIGINATOR_ID_TYPE, "text")


class Dog(Aggregate):
    @event("Registered")
    def __init__(self, name: str) -> None:
        self.name = name


class Kennel(Application[UUID]):
    pass


class Entry(Application[UUID]):
    """Its streams are called like ours."""


class Varve(Application[UUID]):
    """Its name is ours."""


class Tagged(VarveApplication):
    """Ours, under a name of its own."""


def ours(settings: Settings, application_class: type[VarveApplication] = VarveApplication) -> VarveApplication:
    return application_class(event_types(), AggregateTypes(ENTRY))


def save_foreign(application_class: type[Application[UUID]] = Kennel) -> None:
    """Save one event of an unknown topic, one of a topic of ours, and one that would void our first."""
    with application_class() as application:
        application.save(Dog("Fido"))
        application.recorder.insert_events(
            [
                StoredEvent(str(ENTRY_ID), 1, OURS, b"no JSON"),
                StoredEvent(str(uuid4()), 1, EventVoided.TOPIC, b'{"position":1}'),
                StoredEvent(str(uuid4()), 1, EventVoided.TOPIC, b"no JSON"),
            ]
        )


async def tags(admin) -> list[list[str]]:
    return [row[0] for row in await (await admin.execute("select tags from varve.events order by position")).fetchall()]


@pytest.mark.parametrize(
    ("application_class", "setting"),
    [(Kennel, None), (Kennel, ""), (Kennel, "pound"), (Entry, None), (Varve, None), (Varve, "")],
)
async def test_all_that_it_writes_is_passed_by(appender: Appender, admin, monkeypatch, application_class, setting):
    if setting is not None:
        monkeypatch.setenv(VarveFactory.APPLICATION, setting)
    await appender.append(append_of({"entry-ours": [created()]}))
    await asyncio.to_thread(save_foreign, application_class)
    name = setting or application_class.__name__.lower()
    assert await tags(admin) == [[], *([[f"application:{name}"]] * 4)]
    reader = LogReader(event_types())
    for wanted in (LogFilter(), LogFilter(leaves_out_voided=True), LogFilter(tenant="acme"), LogFilter(topics={OURS})):
        window = await reader.window(admin, 0, 10, wanted)
        assert ([each.position for each in window.events], window.is_full) == ([1], False)
        assert window.scanned_to == 5
    assert await reader.at(admin, [2, 3, 4]) == []
    assert [row[1] for row in (await reader.fetch(admin, 0, 10, LogFilter(with_others=True))).rows] == [1, 2, 3, 4, 5]


async def test_events_that_have_only_tags_are_passed_by_as_well(admin):
    def book() -> None:
        with closing(DCBApplication()) as application:
            application.recorder.append([DCBEvent(OURS, b"1A", ["seat:1A"])])
            with pytest.raises(ProgrammingError, match="names the writer"):
                application.recorder.append([DCBEvent("SeatBooked", b"1A", ["application:kennel"])])

    await asyncio.to_thread(book)
    window = await LogReader(event_types()).window(admin, 0, 10)
    assert (window.events, window.scanned_to) == ([], 1)


@pytest.mark.parametrize(
    ("application_class", "setting"), [(VarveApplication, None), (VarveApplication, "kennel"), (Tagged, "")]
)
async def test_what_our_own_application_writes_stays_ours(settings, admin, monkeypatch, application_class, setting):
    if setting is not None:
        monkeypatch.setenv(VarveFactory.APPLICATION, setting)

    def save() -> list[str]:
        save_foreign()
        with ours(settings, application_class) as application, acting_for("acme"):
            application.save(with_events(ENTRY, Versioned(STREAM), [created()]))
            assert application.repository.get(STREAM, projector_func=application.projector(ENTRY)).version == 1
            return [each.originator_id for each in application.notification_log.select(1, 10)]

    assert await asyncio.to_thread(save) == [STREAM]
    window = await LogReader(event_types()).window(admin, 0, 10)
    assert [(each.stream, each.position) for each in window.events] == [(STREAM, 5)]


async def test_old_rows_without_a_tag_are_ours(admin):
    await append_unknown(admin, "kennel:Dog.Registered")
    with pytest.raises(UnknownEvent):
        await LogReader(event_types()).window(admin, 0, 10)


async def test_a_command_cannot_say_that_another_application_wrote_its_events(appender: Appender, admin):
    [new] = stream_events(STREAM, 0, [created()])
    smuggled = replace(append_of({}), events=(replace(new, tags=("clay", "application:kennel")),))
    with pytest.raises(InvalidAppend, match="another application"):
        await appender.append(smuggled)
    assert await tags(admin) == []
    await appender.append(replace(smuggled, events=(replace(new, tags=("applications", "clay")),)))
    assert len((await LogReader(event_types()).window(admin, 0, 10)).events) == 1


async def test_a_stream_that_is_called_like_ours_is_no_aggregate_of_ours(
    appender: Appender, admin, writer_pool, platform
):
    await asyncio.to_thread(save_foreign, Entry)
    loaded = await AggregateRepository(writer_pool, PydanticMapper(event_types())).load(ENTRY, "acme", ENTRY_ID)
    assert (loaded.version, loaded.state) == (0, None)
    stream = await TenantStreams(platform.reader_pool, event_types()).stream("acme", STREAM)
    assert await stream.window() == await stream.latest([KnowledgeEntryCreated]) == await stream.shown() == []
    assert [each async for each in stream.events()] == []
    (shown,) = await stream.shown(with_others=True)
    assert (shown.application, shown.event, shown.data) == ("entry", None, "no JSON")


async def test_it_voids_no_event_of_ours_and_leaves_claims_alone(appender: Appender, admin):
    await appender.append(append_of({STREAM: [created()]}))
    await asyncio.to_thread(save_foreign)
    assert (await admin.execute("select from varve.voided")).rowcount == 0
    assert await verify_claims(admin) == await rebuild_claims(admin) == []


async def test_it_voids_its_own(admin):
    def save() -> None:
        with Kennel() as kennel:
            kennel.save(Dog("Fido"))
            kennel.recorder.insert_events([StoredEvent(str(uuid4()), 1, EventVoided.TOPIC, b'{"position":1}')])

    await asyncio.to_thread(save)
    assert await (await admin.execute("select position, voided_by from varve.voided")).fetchall() == [(1, 2)]


async def test_a_subscription_goes_past_it(settings, appender: Appender, admin):
    await asyncio.to_thread(save_foreign)
    await appender.append(append_of({STREAM: [created()]}))
    url = settings.role_url("varve_projector")
    async with asyncio.timeout(10), subscribe(LogReader(event_types()), url, listen_url=url) as subscription:
        window = await anext(subscription)
    assert ([each.position for each in window.events], window.scanned_to) == ([5], 5)


async def test_long_runs_of_its_events_are_one_window(admin):
    def save() -> None:
        with Kennel() as kennel:
            for _ in range(3):
                kennel.recorder.insert_events([StoredEvent(str(uuid4()), 1, "x", b"{}") for _ in range(1_000)])

    await asyncio.to_thread(save)
    window = await LogReader(EventTypes()).window(admin, 0, 10)
    assert (window.events, window.scanned_to, window.is_full) == ([], 3_000, False)


async def test_its_topics_are_counted_under_its_name(appender: Appender, admin):
    await appender.append(append_of({STREAM: [created()]}))
    await asyncio.to_thread(save_foreign)
    counted = (await count_log(admin)).by_topic
    assert (counted[OURS], counted[f"{OURS} of kennel"]) == (1, 1)
