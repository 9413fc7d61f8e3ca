"""What the first releases stored loads with the code of today, on every way that the code reads it."""

from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, ClassVar
from uuid import UUID

import psycopg
import pytest
from psycopg_pool import AsyncConnectionPool
from pydantic import SecretStr

from domain.knowledge.document import DOCUMENT, DocumentStatus
from domain.knowledge.entry import ENTRY, Link
from domain.shared.aggregates import AggregateType
from domain.shared.events import Event
from eventstore.application import VarveApplication, with_events
from eventstore.errors import UnknownEventVersion
from eventstore.load import AggregateRepository
from eventstore.log import LogReader
from eventstore.mapper import EventTypes, PydanticMapper, encode
from eventstore.persistence import acting_for
from eventstore.snapshots import AggregateTypes, SnapshotPolicy, SnapshotTaker, Versioned
from tests.eventstore.cores import CORE, Core, CoreLabelled, LayerMeasured
from tests.eventstore.old_store import FIRST_RELEASE, THREE_VERSIONS, restore, rows
from tests.fixtures.database import SECRET_KEY, database_url
from varve.bootstrap import event_types
from varve.embedded import ServiceUrls
from varve.pools import open_pool
from varve.settings import Settings

KNOWN = EventTypes(*event_types(), *CORE.events)


def numbered(number: int) -> UUID:
    return UUID(f"0190a000-0000-7000-8000-{number:012x}")


SEDIMENT, CLAY, FOREIGN = numbered(1), numbered(2), numbered(3)
LAYERS, GROUND, WITHDRAWN = numbered(4), numbered(5), numbered(6)
SUIGETSU, SECOND_CORE = numbered(0xC1), numbered(0xC2)

EVENT_TYPES_OF_FIRST_RELEASE = 13

AGGREGATES: list[tuple[AggregateType[Any], str, UUID, int]] = [
    (ENTRY, "acme", SEDIMENT, 7),
    (ENTRY, "acme", CLAY, 2),
    (ENTRY, "umbra", FOREIGN, 1),
    (DOCUMENT, "acme", LAYERS, 3),
    (DOCUMENT, "acme", GROUND, 6),
    (DOCUMENT, "umbra", WITHDRAWN, 2),
    (CORE, "acme", SUIGETSU, 4),
    (CORE, "acme", SECOND_CORE, 2),
]


@pytest.fixture(scope="module")
def restored(services: ServiceUrls, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """The settings of a database that the first release made and filled, brought to the newest schema once."""
    with new_database(services, "first_release", "template0 encoding 'UTF8'") as url:
        settings = Settings(
            data_directory=tmp_path_factory.mktemp("first_release"),
            database_url=url,
            redis_url=SecretStr(services.redis_url),
            secret_key=SECRET_KEY,
            embedder="hashing",
        )
        restore(settings, FIRST_RELEASE, THREE_VERSIONS)
        yield settings


@pytest.fixture
def old_store(restored: Settings, services: ServiceUrls) -> Iterator[Settings]:
    """A copy of it that a test may write to."""
    with new_database(services, "first_release_copy", "first_release strategy file_copy") as url:
        yield restored.model_copy(update={"database_url": url})


@contextmanager
def new_database(services: ServiceUrls, name: str, template: str) -> Iterator[SecretStr]:
    with psycopg.connect(services.admin_database_url, autocommit=True) as admin:
        admin.execute(f"create database {name} template {template}")
        try:
            yield SecretStr(database_url(services, name))
        finally:
            admin.execute(f"drop database {name} with (force)")


@pytest.fixture
def application(old_store: Settings) -> Iterator[VarveApplication]:
    with application_with(old_store, CORE) as opened:
        yield opened


def application_with(settings: Settings, core: AggregateType[Core]) -> VarveApplication:
    env = {"VARVE_WRITER_DATABASE_URL": settings.role_url("varve_writer")}
    return VarveApplication(KNOWN, AggregateTypes(ENTRY, DOCUMENT, core), env=env)


@pytest.fixture
async def pool(old_store: Settings) -> AsyncIterator[AsyncConnectionPool[Any]]:
    async with open_pool(old_store, "varve_writer", 2) as opened:
        yield opened


@pytest.fixture
def repository(pool: AsyncConnectionPool[Any]) -> AggregateRepository:
    return AggregateRepository(pool, PydanticMapper(KNOWN))


def load_by_library(
    application: VarveApplication, aggregate_type: AggregateType[Any], tenant: str, aggregate_id: UUID
) -> Versioned[Any]:
    with acting_for(tenant):
        stream = aggregate_type.stream(aggregate_id)
        return application.repository.get(stream, projector_func=application.projector(aggregate_type))


def test_the_fixture_holds_every_event_type_of_the_first_release_at_version_one() -> None:
    held = {(row["topic"], row["class_version"]) for row in rows(FIRST_RELEASE) if row["table"] == "events"}
    assert len(held) == EVENT_TYPES_OF_FIRST_RELEASE
    assert {class_version for _, class_version in held} == {1}


def test_the_other_fixture_holds_every_version_of_its_events() -> None:
    held = {(row["topic"], row["class_version"]) for row in rows(THREE_VERSIONS) if row["table"] == "events"}
    assert held == {(each.TOPIC, version) for each in CORE.events for version in range(1, each.class_version + 1)}


async def test_the_whole_log_is_read_in_order(old_store: Settings) -> None:
    url = old_store.role_url("varve_projector")
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
        window = await LogReader(KNOWN).window(connection, 0, 1000)
    stored = [row for row in rows(FIRST_RELEASE, THREE_VERSIONS) if row["table"] == "events"]
    assert [(event.position, event.stream, event.version, event.event.TOPIC) for event in window.events] == [
        (row["position"], row["stream"], row["version"], row["topic"]) for row in stored
    ]
    assert [event.event for event in window.events][-6:] == [
        CoreLabelled(label="Lake Suigetsu"),
        LayerMeasured(layer=1, millimetres=120, by=None),
        LayerMeasured(layer=2, millimetres=135, by=None),
        CoreLabelled(label="水月湖"),
        LayerMeasured(layer=3, millimetres=130, by="张伟"),
        LayerMeasured(layer=1, millimetres=70, by=None),
    ]


def test_an_event_that_has_not_changed_since_gives_the_same_bytes() -> None:
    newest = {event_class.TOPIC: event_class.class_version for event_class in KNOWN}
    unchanged = [
        row
        for row in rows(FIRST_RELEASE, THREE_VERSIONS)
        if row["table"] == "events" and row["class_version"] == newest[row["topic"]]
    ]
    decoded = [KNOWN.decode(row["topic"], row["class_version"], row["data"]) for row in unchanged]
    assert [encode(event) for event in decoded] == [row["data"] for row in unchanged]


@pytest.mark.parametrize(("aggregate_type", "tenant", "aggregate_id", "version"), AGGREGATES)
async def test_every_aggregate_is_loaded_by_the_repository_and_by_the_library(
    repository: AggregateRepository,
    application: VarveApplication,
    aggregate_type: AggregateType[Any],
    tenant: str,
    aggregate_id: UUID,
    version: int,
) -> None:
    loaded = await repository.load(aggregate_type, tenant, aggregate_id)
    assert loaded.version == version
    assert loaded.state is not None
    by_library = load_by_library(application, aggregate_type, tenant, aggregate_id)
    assert (by_library.version, by_library.state) == (loaded.version, loaded.state)


async def test_an_entry_is_what_the_first_release_left(repository: AggregateRepository) -> None:
    entry = (await repository.load(ENTRY, "acme", SEDIMENT)).state
    assert entry is not None
    assert (entry.name, entry.category, entry.tags) == ("Varve", None, ("ice", "silt"))
    assert entry.links == {Link(target_id=CLAY, relation="explains")}
    assert not entry.is_deleted


async def test_a_document_is_what_the_first_release_left(repository: AggregateRepository) -> None:
    document = (await repository.load(DOCUMENT, "acme", GROUND)).state
    assert document is not None
    assert (document.file_name, document.status, document.attempt) == ("地层.pdf", DocumentStatus.PROCESSED, 2)


async def test_old_versions_of_events_lead_to_the_state_of_today(repository: AggregateRepository) -> None:
    loaded = await repository.load(CORE, "acme", SUIGETSU)
    assert (loaded.version, loaded.state) == (4, Core(label="Lake Suigetsu", millimetres=135))


async def test_a_snapshot_of_older_fields_is_left_aside_and_a_new_one_is_taken(
    pool: AsyncConnectionPool[Any], application: VarveApplication, old_store: Settings
) -> None:
    taker = SnapshotTaker(pool, SnapshotPolicy(events=4))
    repository = AggregateRepository(pool, application.mapper, taker.note)
    before = await repository.load(CORE, "acme", SUIGETSU)
    await taker.write_waiting()
    assert snapshots(old_store, CORE.stream(SUIGETSU)) == [(2, 1), (4, 2)]
    assert await repository.load(CORE, "acme", SUIGETSU) == before
    assert load_by_library(application, CORE, "acme", SUIGETSU).state == before.state


async def test_a_snapshot_of_the_first_release_is_left_aside_when_the_state_has_changed_since(
    pool: AsyncConnectionPool[Any], repository: AggregateRepository, old_store: Settings
) -> None:
    spoil_snapshots(old_store)
    later = replace(ENTRY, snapshot_version=ENTRY.snapshot_version + 1)
    loaded = await repository.load(later, "acme", SEDIMENT)
    assert loaded.version == 7
    assert loaded.state is not None
    assert loaded.state.name == "Varve"


async def test_an_old_stream_grows_on(application: VarveApplication, repository: AggregateRepository) -> None:
    stream = CORE.stream(SUIGETSU)
    deeper = LayerMeasured(layer=4, millimetres=201, by="ann")
    with acting_for("acme"):
        application.save(with_events(CORE, Versioned(stream, 4), [deeper]))
    loaded = await repository.load(CORE, "acme", SUIGETSU)
    assert (loaded.version, loaded.state) == (5, Core(label="Lake Suigetsu", millimetres=201))


async def test_code_that_knows_only_older_versions_names_what_it_can_not_read(pool: AsyncConnectionPool[Any]) -> None:
    class Older(Event):
        TOPIC: ClassVar[str] = LayerMeasured.TOPIC

        layer: int
        depth: str

    repository = AggregateRepository(pool, PydanticMapper(EventTypes(CoreLabelled, Older)))
    older = replace(CORE, evolve=lambda state, _: state)
    with pytest.raises(UnknownEventVersion) as unknown:
        await repository.load(older, "acme", SUIGETSU)
    assert (unknown.value.class_version, unknown.value.newest_known) == (2, 1)


def snapshots(settings: Settings, stream: str) -> list[tuple[int, int]]:
    """Version and schema version of each snapshot of a stream."""
    with psycopg.connect(settings.required_database_url()) as connection:
        return connection.execute(
            "select version, schema_version from varve.snapshots where stream = %s order by 1, 2", (stream,)
        ).fetchall()


def spoil_snapshots(settings: Settings) -> None:
    """Make it visible whether a load took its state from a snapshot."""
    with psycopg.connect(settings.required_database_url(), autocommit=True) as connection:
        spoilt = connection.execute("""
            update varve.snapshots
            set data = convert_to(replace(convert_from(data, 'UTF8'), 'Varve', 'from the snapshot'), 'UTF8')
            where convert_from(data, 'UTF8') like '%Varve%'
        """)
        assert spoilt.rowcount == 1
