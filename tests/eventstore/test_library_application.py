"""The library's synchronous application and our async path: two ways to the same rows and the same states."""

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, ClassVar, TypeVar
from uuid import UUID

import psycopg
import pytest
from eventsourcing import persistence as library
from eventsourcing.application import AggregateNotFoundError
from psycopg_pool import AsyncConnectionPool
from pydantic import BaseModel, SecretStr

from commands.bus import CommandBus
from commands.knowledge.create_entry import CreateKnowledgeEntries, CreateKnowledgeEntry
from commands.knowledge.delete_document import DeleteDocument
from commands.knowledge.delete_entry import DeleteKnowledgeEntry
from commands.knowledge.link_entries import LinkKnowledgeEntries, UnlinkKnowledgeEntries
from commands.knowledge.process_document import CompleteDocumentProcessing, FailDocumentProcessing, ProcessDocument
from commands.knowledge.reprocess_document import ReprocessDocument
from commands.knowledge.restore_entry import RestoreKnowledgeEntry
from commands.knowledge.update_entry import UpdateKnowledgeEntry
from commands.knowledge.upload_document import UploadDocument
from commands.message import Command, CommandRequest, Decision
from commands.registry import build_handlers
from domain.knowledge.document import DOCUMENT
from domain.knowledge.entry import ENTRY, EntryChanges, Link
from domain.knowledge.events import DOCUMENT_EVENTS, ENTRY_EVENTS
from domain.shared.access import Actor, Role
from domain.shared.aggregates import AggregateType
from domain.shared.events import Event
from eventstore.aggregate_cache import AggregateCache
from eventstore.append import Appender, open_appender
from eventstore.application import VarveApplication, with_events
from eventstore.load import AggregateRepository, Loaded
from eventstore.log import LogReader
from eventstore.mapper import EventTypes, VersionedStoredEvent
from eventstore.persistence import (
    TenantNotSet,
    VarveFactory,
    acting_for,
)
from eventstore.snapshots import AggregateTypes, Versioned
from tests.builders.actors import actor
from tests.builders.documents import processed_content, uploaded_file
from tests.builders.entries import created, new_entry
from tests.builders.operated import NothingOperated
from tests.fixtures.database import database_url
from varve.embedded import ServiceUrls
from varve.pools import open_pool
from varve.settings import Settings

S = TypeVar("S", bound=BaseModel)

NOW = datetime(2026, 1, 1, tzinfo=UTC)
ACTOR = actor("acme", "ann", Role.SYSTEM)
FIRST, SECOND, THIRD, DOCUMENT_ID = (UUID(int=number) for number in range(1, 5))
LINK = Link(target_id=SECOND, relation="explains")

USE_CASES: Sequence[Command] = (
    CreateKnowledgeEntry(entry=new_entry(name="Schicht 层", attributes={"depth": 1.5, "a": [None, True]})),
    CreateKnowledgeEntries(entries=(new_entry(name="Silt"), new_entry(name="Clay"))),
    UpdateKnowledgeEntry(entry_id=FIRST, changes=EntryChanges(name="Varve", category=None)),
    LinkKnowledgeEntries(entry_id=FIRST, link=LINK),
    UnlinkKnowledgeEntries(entry_id=FIRST, link=LINK),
    LinkKnowledgeEntries(entry_id=FIRST, link=LINK),
    DeleteKnowledgeEntry(entry_id=FIRST),
    RestoreKnowledgeEntry(entry_id=FIRST),
    UploadDocument(file=uploaded_file()),
    ProcessDocument(document_id=DOCUMENT_ID, attempt=1),
    CompleteDocumentProcessing(document_id=DOCUMENT_ID, attempt=1, content=processed_content()),
    ReprocessDocument(document_id=DOCUMENT_ID),
    ProcessDocument(document_id=DOCUMENT_ID, attempt=2),
    FailDocumentProcessing(document_id=DOCUMENT_ID, attempt=2, reason="corrupt", message="The file is damaged."),
    DeleteDocument(document_id=DOCUMENT_ID),
)
AGGREGATES: Sequence[tuple[AggregateType[Any], UUID]] = (
    (ENTRY, FIRST),
    (ENTRY, SECOND),
    (ENTRY, THIRD),
    (DOCUMENT, DOCUMENT_ID),
)
HANDLERS = build_handlers((), (), NothingOperated())

_ROWS = "select tenant, stream, version, topic, class_version, data from varve.events order by position"
_CLAIMS = "select tenant, claim, stream from varve.claims order by claim"
_AUDIT = "select count(*) from varve.commands"
_TERMINATE_WRITERS = """
select pg_terminate_backend(pid, 5000) from pg_stat_activity
where usename = 'varve_writer' and datname = current_database()
"""


class Measured(Event):
    """An event whose first version had no unit."""

    TOPIC: ClassVar[str] = "tests.Measured"
    class_version: ClassVar[int] = 2

    depth: int
    unit: str

    @staticmethod
    def upcast_v1_v2(state: dict[str, Any]) -> None:
        state["unit"] = "cm"


class CountedIds:
    """Ids in order, so that both ways give the same ones."""

    def __init__(self) -> None:
        self._last = 0

    def new(self) -> UUID:
        self._last += 1
        return UUID(int=self._last)


class FixedClock:
    def now(self) -> datetime:
        return NOW


@dataclass
class ThroughLibrary:
    """Executes commands by the library's `repository.get` and `save`; what their handlers are given."""

    application: VarveApplication
    actor: Actor = ACTOR
    now: datetime = NOW
    ids: CountedIds = field(default_factory=CountedIds)

    def new_id(self) -> UUID:
        return self.ids.new()

    async def load(self, aggregate_type: AggregateType[S], aggregate_id: UUID) -> Loaded[S]:
        stream = aggregate_type.stream(aggregate_id)
        try:
            found = self.application.repository.get(stream, projector_func=self.application.projector(aggregate_type))
        except AggregateNotFoundError:
            return Loaded(stream, 0, None)
        return Loaded(found.id, found.version, found.state)

    async def execute(self, command: Command) -> None:
        decision: Decision = await HANDLERS[type(command)](command, self)
        aggregates = [
            with_events(
                self._type_of(stream.stream),
                # Deciding has loaded the state; pending events are all that saving needs.
                Versioned(stream.stream, stream.version),
                stream.events,
            )
            for stream in decision.streams
        ]
        self.application.save(*aggregates, claims=decision.claims)

    def _type_of(self, stream: str) -> AggregateType[Any]:
        aggregate_type = self.application.aggregate_types.of_stream(stream)
        assert aggregate_type is not None
        return aggregate_type


def application_for(settings: Settings) -> VarveApplication:
    return VarveApplication(
        EventTypes(*ENTRY_EVENTS, *DOCUMENT_EVENTS),
        AggregateTypes(ENTRY, DOCUMENT),
        env={"VARVE_WRITER_DATABASE_URL": settings.role_url("varve_writer")},
    )


@pytest.fixture
def twin_settings(settings: Settings, services: ServiceUrls, template_database: str) -> Iterator[Settings]:
    """A second database like the first one."""
    name = "library_twin"
    with psycopg.connect(services.admin_database_url, autocommit=True) as admin:
        admin.execute(f"create database {name} template {template_database} strategy file_copy")
        try:
            yield settings.model_copy(update={"database_url": SecretStr(database_url(services, name))})
        finally:
            admin.execute(f"drop database {name} with (force)")


@pytest.fixture
def application(settings: Settings) -> Iterator[VarveApplication]:
    with application_for(settings) as opened, acting_for("acme"):
        yield opened


@dataclass
class Ways:
    """Two databases, one filled by the command bus and one through the library, and what reads each."""

    async_settings: Settings
    library_settings: Settings

    @asynccontextmanager
    async def repository(self, settings: Settings) -> AsyncIterator[AggregateRepository]:
        with closing(application_for(settings)) as application:
            async with open_pool(settings, "varve_writer", 1) as pool:
                yield AggregateRepository(pool, application.mapper)

    def query(self, settings: Settings, sql: str) -> list[Any]:
        with psycopg.connect(settings.required_database_url()) as connection:
            return connection.execute(sql).fetchall()


@pytest.fixture
async def ways(settings: Settings, twin_settings: Settings) -> Ways:
    """Every use case executed once each way."""
    with application_for(settings) as application:
        async with (
            open_pool(settings, "varve_writer", 2) as pool,
            open_appender(settings.role_url("varve_writer"), application.mapper) as appender,
        ):
            bus = bus_over(pool, appender, application)
            for number, command in enumerate(USE_CASES):
                command_id = UUID(int=1000 + number)
                await bus.execute(command, CommandRequest(ACTOR, command_id, command_id))
    with application_for(twin_settings) as application, acting_for("acme"):
        through_library = ThroughLibrary(application)
        for command in USE_CASES:
            await through_library.execute(command)
    return Ways(settings, twin_settings)


def bus_over(pool: AsyncConnectionPool[Any], appender: Appender, application: VarveApplication) -> CommandBus:
    return CommandBus(
        handlers=HANDLERS,
        appender=appender,
        aggregates=AggregateCache(AggregateRepository(pool, application.mapper)),
        clock=FixedClock(),
        ids=CountedIds(),
        key_seconds=60,
    )


def test_the_use_cases_are_all_of_the_knowledge_context() -> None:
    of_knowledge = {command for command in HANDLERS if command.__module__.startswith("commands.knowledge.")}
    assert {type(command) for command in USE_CASES} == of_knowledge


def test_both_ways_store_the_same_rows(ways: Ways) -> None:
    rows = ways.query(ways.async_settings, _ROWS)
    assert len(rows) == 16
    assert ways.query(ways.library_settings, _ROWS) == rows


def test_both_ways_hold_the_same_claims(ways: Ways) -> None:
    assert ways.query(ways.library_settings, _CLAIMS) == ways.query(ways.async_settings, _CLAIMS)


def test_only_the_command_bus_leaves_audit_rows(ways: Ways) -> None:
    assert ways.query(ways.async_settings, _AUDIT) == [(len(USE_CASES),)]
    assert ways.query(ways.library_settings, _AUDIT) == [(0,)]


@pytest.mark.parametrize("written", ["async_settings", "library_settings"])
async def test_both_ways_load_the_same_states(ways: Ways, written: str) -> None:
    settings: Settings = getattr(ways, written)
    async with ways.repository(settings) as repository:
        by_async = [await repository.load(kind, "acme", number) for kind, number in AGGREGATES]
    with application_for(settings) as application, acting_for("acme"):
        by_library = [await ThroughLibrary(application).load(kind, number) for kind, number in AGGREGATES]
    assert by_library == by_async
    assert [loaded.version for loaded in by_async] == [7, 1, 1, 7]
    assert None not in [loaded.state for loaded in by_async]


async def test_events_of_the_library_are_readable_in_the_log(ways: Ways) -> None:
    reader = LogReader(EventTypes(*ENTRY_EVENTS, *DOCUMENT_EVENTS))
    url = ways.library_settings.role_url("varve_projector")
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
        window = await reader.window(connection, 0, 100)
    assert {event.metadata.command_type for event in window.events} == {"Application.save"}


def test_a_stale_aggregate_is_not_saved(application: VarveApplication) -> None:
    new = with_events(ENTRY, Versioned(ENTRY.stream(FIRST)), [created(FIRST)])
    application.save(new)
    with pytest.raises(library.IntegrityError):
        application.save(new)


def test_a_claim_of_another_stream_is_not_taken(application: VarveApplication) -> None:
    upload = UploadDocument(file=uploaded_file())
    through_library = ThroughLibrary(application)
    asyncio.run(through_library.execute(upload))
    with pytest.raises(library.IntegrityError, match="ClaimTaken"):
        asyncio.run(through_library.execute(upload))


def test_an_aggregate_is_loaded_as_of_a_version(ways: Ways) -> None:
    with application_for(ways.library_settings) as application, acting_for("acme"):
        stream = ENTRY.stream(FIRST)
        entry = application.repository.get(stream, version=1, projector_func=application.projector(ENTRY))
    assert entry.state is not None
    assert entry.state.name == "Schicht 层"


def test_another_tenants_stream_is_not_found(application: VarveApplication) -> None:
    application.save(with_events(ENTRY, Versioned(ENTRY.stream(FIRST)), [created(FIRST)]))
    with acting_for("umbra"):
        assert application.recorder.max_notification_id() is None
        with pytest.raises(AggregateNotFoundError):
            application.repository.get(ENTRY.stream(FIRST), projector_func=application.projector(ENTRY))


def test_nothing_is_read_without_a_tenant(settings: Settings) -> None:
    with application_for(settings) as application, pytest.raises(TenantNotSet):
        application.recorder.max_notification_id()


def test_a_restarted_server_is_not_noticed(application: VarveApplication, settings: Settings) -> None:
    application.recorder.max_notification_id()
    with psycopg.connect(settings.required_database_url(), autocommit=True) as admin:
        admin.execute(_TERMINATE_WRITERS)
    assert application.recorder.max_notification_id() is None


def test_psycopgs_errors_become_the_librarys(application: VarveApplication) -> None:
    with pytest.raises(library.DataError):
        application.recorder.select_events("a NUL \x00 can't be stored")
    application.close()
    with pytest.raises(library.OperationalError):
        application.recorder.max_notification_id()


def test_the_version_of_an_events_class_is_kept(application: VarveApplication) -> None:
    application.event_types = EventTypes(Measured)
    application.recorder.insert_events(
        [
            VersionedStoredEvent("core-1", 1, Measured.TOPIC, b'{"depth":3}', class_version=1),
            VersionedStoredEvent("core-1", 2, Measured.TOPIC, b'{"depth":4,"unit":"m"}', class_version=2),
        ]
    )
    stored = application.recorder.select_events("core-1")
    notified = application.recorder.select_notifications(start=1, limit=10)
    measured = [Measured(depth=3, unit="cm"), Measured(depth=4, unit="m")]
    mapper = application.construct_mapper()
    for read in (stored, notified):
        assert [mapper.to_domain_event(event).event for event in read] == measured


def test_an_upstream_position_is_dealt_with_once(application: VarveApplication) -> None:
    tracking = library.Tracking("upstream", 1)
    for version in (1, 2):
        new = with_events(ENTRY, Versioned(ENTRY.stream(FIRST), version - 1), [created(FIRST)])
        stored = [application.mapper.to_stored_event(event) for event in new.pending]
        if version == 1:
            application.recorder.insert_events(stored, tracking=tracking)
        else:
            with pytest.raises(library.IntegrityError, match="AlreadyTracked"):
                application.recorder.insert_events(stored, tracking=tracking)


def test_a_subscription_sees_what_the_tenant_saves_while_it_lasts(application: VarveApplication) -> None:
    with application.recorder.subscribe() as subscription:
        with acting_for("umbra"):
            application.save(with_events(ENTRY, Versioned(ENTRY.stream(FIRST)), [created(FIRST)]))
        application.save(with_events(ENTRY, Versioned(ENTRY.stream(SECOND)), [created(SECOND)]))
        assert next(subscription).originator_id == ENTRY.stream(SECOND)


def test_the_factory_names_the_setting_that_it_misses() -> None:
    with pytest.raises(library.InfrastructureFactoryError, match="VARVE_WRITER_DATABASE_URL"):
        VarveFactory({})


def test_the_notification_log_is_decoded_by_the_mapper(application: VarveApplication) -> None:
    application.save(with_events(ENTRY, Versioned(ENTRY.stream(FIRST)), [created(FIRST)]))
    [notification] = application.notification_log.select(start=1, limit=10)
    assert application.mapper.to_domain_event(notification).event == created(FIRST)
