"""Snapshots make loads short and change nothing else, whoever wrote them and whatever became of them."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import psycopg
import pytest
from hypothesis import given, reject
from hypothesis import strategies as st
from psycopg_pool import AsyncConnectionPool
from pydantic import ValidationError
from structlog.testing import capture_logs

from domain.knowledge.document import DOCUMENT
from domain.knowledge.entry import ENTRY, KnowledgeEntry
from domain.knowledge.events import DOCUMENT_EVENTS, ENTRY_EVENTS, EntryEvent
from domain.shared.aggregates import AggregateType
from domain.shared.events import Event
from eventstore.aggregate_cache import AggregateCache
from eventstore.application import VarveApplication, with_events
from eventstore.load import _LOAD, AggregateRepository, Loaded
from eventstore.mapper import EventTypes, encode
from eventstore.persistence import acting_for
from eventstore.snapshots import (
    AggregateTypes,
    Snapshot,
    SnapshotPolicy,
    SnapshotTaker,
    UnusableSnapshot,
    Versioned,
    decode_snapshot,
    encode_snapshot,
)
from tests.builders.documents import uploaded
from tests.builders.entries import ENTRY_ID, created, linked, updated
from tests.builders.histories import histories
from varve.settings import Settings

STREAM = ENTRY.stream(ENTRY_ID)
EVERY_TEN = SnapshotPolicy(events=10)
NEVER = SnapshotPolicy(events=1_000_000)
REARRANGED = replace(ENTRY, snapshot_version=2)
"""The same aggregate after its state's fields have changed."""


LAWFUL: dict[str, Any] = {
    "name": "Silt",
    "owner": "ann",
    "entity_type": "note",
    "category": "geology",
    "tags": ("clay", "silt"),
    "file_name": "layers.pdf",
    "media_type": "application/pdf",
    "sha256": "ab" * 32,
    "content_sha256": "cd" * 32,
    "title": "Layers",
    "language": "en",
    "reason": "corrupt",
    "message": "The file is damaged.",
    "description": "A yearly layer.",
}


class CountingCursor(psycopg.AsyncCursor[Any]):
    """Counts the rows that reach the client."""

    counts: list[int] = []  # noqa: RUF012 - psycopg makes the cursors; a test reads the count here

    async def fetchall(self) -> list[Any]:
        rows = await super().fetchall()
        self.counts.append(len(rows))
        return rows


@dataclass
class Store:
    """An entry's stream with both ways to load it."""

    pool: AsyncConnectionPool[Any]
    application: VarveApplication
    repository: AggregateRepository
    taker: SnapshotTaker
    admin: psycopg.AsyncConnection[Any]

    async def grow_to(self, version: int) -> None:
        """Append updates, each different, until the entry has `version`."""
        with acting_for("acme"):
            stored = len(self.application.recorder.select_events(STREAM))
            events = [history_event(number) for number in range(stored + 1, version + 1)]
            self.application.save(with_events(ENTRY, Versioned(STREAM, stored), events))

    async def load(self, aggregate_type: AggregateType[KnowledgeEntry] = ENTRY) -> Loaded[KnowledgeEntry]:
        CountingCursor.counts.clear()
        return await self.repository.load(aggregate_type, "acme", ENTRY_ID)

    async def load_and_take(self, aggregate_type: AggregateType[KnowledgeEntry] = ENTRY) -> Loaded[KnowledgeEntry]:
        loaded = await self.load(aggregate_type)
        await self.taker.write_waiting()
        return loaded

    def load_by_library(self, version: int | None = None) -> Versioned[KnowledgeEntry]:
        with acting_for("acme"):
            return self.application.repository.get(
                STREAM, version=version, projector_func=self.application.projector(ENTRY)
            )

    async def snapshots(self) -> list[tuple[int, int]]:
        """Version and schema version of every snapshot."""
        cursor = await self.admin.execute("select version, schema_version from varve.snapshots order by 1, 2")
        return await cursor.fetchall()


def history_event(number: int) -> EntryEvent:
    if number == 1:
        return created()
    if number == 2:
        return linked()
    return updated(changed=("name",), name=f"Layer {number}")


def expected(version: int) -> KnowledgeEntry:
    """The entry without any store."""
    state: KnowledgeEntry | None = None
    for number in range(1, version + 1):
        state = ENTRY.evolve(state, history_event(number))
    assert state is not None
    return state


def application_for(
    settings: Settings, policy: SnapshotPolicy, entry: AggregateType[KnowledgeEntry] = ENTRY
) -> VarveApplication:
    return VarveApplication(
        EventTypes(*ENTRY_EVENTS, *DOCUMENT_EVENTS),
        AggregateTypes(entry, DOCUMENT),
        snapshot_policy=policy,
        env={"VARVE_WRITER_DATABASE_URL": settings.role_url("varve_writer")},
    )


@pytest.fixture
def application(settings: Settings) -> Iterator[VarveApplication]:
    with application_for(settings, NEVER) as opened:
        yield opened


@pytest.fixture
async def store(
    settings: Settings, admin: psycopg.AsyncConnection[Any], application: VarveApplication
) -> AsyncIterator[Store]:
    async with AsyncConnectionPool(
        settings.role_url("varve_writer"),
        min_size=1,
        max_size=2,
        open=False,
        kwargs={"autocommit": True, "cursor_factory": CountingCursor},
    ) as pool:
        taker = SnapshotTaker(pool, EVERY_TEN)
        yield Store(pool, application, AggregateRepository(pool, application.mapper, taker.note), taker, admin)


async def test_a_load_after_a_snapshot_reads_only_the_tail(store: Store) -> None:
    await store.grow_to(250)
    await store.load_and_take()
    assert CountingCursor.counts == [250]
    await store.grow_to(253)
    loaded = await store.load()
    assert CountingCursor.counts == [1 + 3]
    assert (loaded.version, loaded.state) == (253, expected(253))


async def test_a_snapshot_is_taken_when_a_load_had_to_read_as_many_events_as_the_policy_says(store: Store) -> None:
    await store.grow_to(9)
    await store.load_and_take()
    assert await store.snapshots() == []
    await store.grow_to(10)
    await store.load_and_take()
    assert await store.snapshots() == [(10, 1)]
    await store.grow_to(19)
    await store.load_and_take()
    assert await store.snapshots() == [(10, 1)]
    await store.grow_to(20)
    await store.load_and_take()
    assert await store.snapshots() == [(10, 1), (20, 1)]


@dataclass
class Kept:
    """The entry as a process keeps it between commands."""

    store: Store
    cache: AggregateCache

    async def append(self, *events: EntryEvent) -> None:
        """Do what a command does after its decision; then let the background task write what is due."""
        before = await self.cache.load(ENTRY, "acme", ENTRY_ID)
        with acting_for("acme"):
            self.store.application.save(with_events(ENTRY, Versioned(STREAM, before.version, before.state), events))
        self.cache.appended(ENTRY, "acme", before, events)
        await self.store.taker.write_waiting()


@pytest.fixture
def kept(store: Store) -> Kept:
    return Kept(store, AggregateCache(store.repository, store.taker.note))


async def test_events_that_were_read_count_for_an_aggregate_that_is_kept(store: Store, kept: Kept) -> None:
    await store.grow_to(7)
    for version in (8, 9):
        await kept.append(history_event(version))
    assert await store.snapshots() == []
    await kept.append(history_event(10))
    assert await store.snapshots() == [(10, 1)]


async def test_a_large_state_is_written_anew_when_as_many_bytes_of_events_have_come(store: Store, kept: Kept) -> None:
    """Small events after a large state of 9,000 bytes: ten of them are not worth another snapshot."""
    await kept.append(created(), *(updated(changed=("description",), description="s" * 9_000) for _ in range(9)))
    assert await store.snapshots() == [(10, 1)]
    for _ in range(12):
        await kept.append(linked())
    small = 12 * len(encode(linked()))
    assert await store.snapshots() == [(10, 1)]
    await kept.append(updated(changed=("description",), description="s" * (8_500 - small)))
    assert await store.snapshots() == [(10, 1)]
    await kept.append(updated(changed=("description",), description="s" * 500))
    assert await store.snapshots() == [(10, 1), (24, 1)]


async def test_a_load_knows_how_large_the_state_is(store: Store, kept: Kept) -> None:
    await kept.append(created(), *(updated(changed=("description",), description="s" * 9_000) for _ in range(9)))
    kept.cache.clear()
    await kept.append(*(linked() for _ in range(12)))
    await store.load_and_take()
    assert await store.snapshots() == [(10, 1)]


async def test_the_tail_of_a_long_stream_is_found_by_a_plan_that_knows_how_long_it_is(store: Store) -> None:
    await store.grow_to(4_000)
    await store.load_and_take()
    await store.grow_to(4_005)
    await store.admin.execute("set enable_bitmapscan = off")  # so that this short a table would be read whole, too
    await store.admin.execute("analyze varve.events")
    parameters = {"tenant": "acme", "stream": STREAM, "schema_version": 1}
    cursor = await store.admin.execute(f"explain (analyze, format json) {_LOAD}", parameters)
    [(plan,)] = await cursor.fetchall()
    scans = {node["Relation Name"]: node["Node Type"] for node in _nodes(plan[0]["Plan"]) if "Relation Name" in node}
    assert scans["events"] == "Index Scan"


def _nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for inner in plan.get("Plans", ()):
        yield from _nodes(inner)


async def test_a_load_itself_never_writes(store: Store) -> None:
    await store.grow_to(30)
    await store.load()
    assert await store.snapshots() == []


async def test_the_policy_may_differ_for_a_kind_of_aggregate(store: Store) -> None:
    policy = SnapshotPolicy(events=10, events_by_category={"entry": 40})
    assert policy.interval(DOCUMENT) == 10
    taker = SnapshotTaker(store.pool, policy)
    repository = AggregateRepository(store.pool, store.application.mapper, taker.note)
    await store.grow_to(39)
    await repository.load(ENTRY, "acme", ENTRY_ID)
    await taker.write_waiting()
    assert await store.snapshots() == []


async def test_deleting_all_snapshots_changes_nothing(store: Store) -> None:
    await store.grow_to(30)
    await store.load_and_take()
    await store.admin.execute("delete from varve.snapshots")
    assert await store.load_and_take() == Loaded(STREAM, 30, expected(30))
    assert await store.snapshots() == [(30, 1)]


async def test_a_snapshot_of_older_fields_is_ignored_and_a_new_one_is_taken(store: Store) -> None:
    await store.grow_to(30)
    await store.load_and_take()
    assert await store.load_and_take(REARRANGED) == Loaded(STREAM, 30, expected(30))
    assert CountingCursor.counts == [30]
    assert await store.snapshots() == [(30, 1), (30, 2)]
    await store.load(REARRANGED)
    assert CountingCursor.counts == [1]


async def test_the_library_ignores_a_snapshot_of_older_fields_too(store: Store, settings: Settings) -> None:
    await store.grow_to(15)
    await store.load_and_take()
    await _give_the_snapshot_another_name(store)
    with application_for(settings, NEVER, REARRANGED) as application, acting_for("acme"):
        entry = application.repository.get(STREAM, projector_func=application.projector(REARRANGED))
    assert entry == Versioned(STREAM, 15, expected(15))


@pytest.mark.parametrize("data", [b"", b"null", b"\xff{", b'{"entry_id": 1}'])
async def test_a_corrupt_snapshot_is_ignored_with_a_warning(store: Store, data: bytes) -> None:
    await store.grow_to(12)
    await store.load_and_take()
    await store.admin.execute("update varve.snapshots set data = %s", (data,))
    with capture_logs() as logs:
        by_async = await store.load()
        by_library = store.load_by_library()
    assert by_async == Loaded(STREAM, 12, expected(12))
    assert by_library == Versioned(STREAM, 12, expected(12))
    assert [entry["event"] for entry in logs if entry["log_level"] == "warning"] == ["snapshot.ignored"] * 2


async def test_a_snapshot_of_the_async_path_is_loaded_by_the_library(store: Store) -> None:
    await store.grow_to(15)
    await store.load_and_take()
    await _give_the_snapshot_another_name(store)
    assert _name(store.load_by_library().state) == "from the snapshot"


async def test_a_snapshot_of_the_library_is_loaded_by_the_async_path(store: Store) -> None:
    await store.grow_to(15)
    with acting_for("acme"):
        store.application.take_snapshot(STREAM, projector_func=store.application.projector(ENTRY))
    await _give_the_snapshot_another_name(store)
    assert _name((await store.load()).state) == "from the snapshot"


async def _give_the_snapshot_another_name(store: Store) -> None:
    """Make it visible whether a load took its state from the snapshot."""
    await store.admin.execute("""
        update varve.snapshots
        set data = convert_to(replace(convert_from(data, 'UTF8'), 'Layer 15', 'from the snapshot'), 'UTF8')
    """)


def _name(state: KnowledgeEntry | None) -> str | None:
    return None if state is None else state.name


async def test_the_library_loads_a_version_before_the_newest_snapshot(store: Store) -> None:
    for version in (15, 30):
        await store.grow_to(version)
        await store.load_and_take()
    assert store.load_by_library(version=20) == Versioned(STREAM, 20, expected(20))


async def test_saving_through_the_library_takes_the_snapshots_that_are_due(store: Store, settings: Settings) -> None:
    with application_for(settings, EVERY_TEN) as application, acting_for("acme"):
        application.save(with_events(ENTRY, Versioned(STREAM), [history_event(number) for number in range(1, 26)]))
    assert await store.snapshots() == [(10, 1), (20, 1)]
    assert store.load_by_library() == Versioned(STREAM, 25, expected(25))


async def test_a_snapshot_that_can_not_be_saved_breaks_no_save(store: Store, settings: Settings) -> None:
    await store.admin.execute("revoke execute on function varve.save_snapshot from varve_writer")
    with application_for(settings, EVERY_TEN) as application, acting_for("acme"), capture_logs() as logs:
        application.save(with_events(ENTRY, Versioned(STREAM), [history_event(number) for number in range(1, 11)]))
    assert [entry["event"] for entry in logs] == ["snapshot.not_taken"]
    assert store.load_by_library().version == 10


async def test_a_snapshot_that_can_not_be_saved_stops_no_later_one(store: Store) -> None:
    await store.grow_to(10)
    await store.admin.execute("revoke execute on function varve.save_snapshot from varve_writer")
    with capture_logs() as logs:
        await store.load_and_take()
    assert [entry["event"] for entry in logs] == ["snapshot.not_taken"]
    await store.admin.execute("grant execute on function varve.save_snapshot to varve_writer")
    await store.load_and_take()
    assert await store.snapshots() == [(10, 1)]


async def test_the_background_task_writes_while_requests_go_on(store: Store) -> None:
    task = asyncio.create_task(store.taker.run())
    await store.grow_to(10)
    await store.load()
    for _ in range(1000):
        if await store.snapshots():
            break
        await asyncio.sleep(0.01)
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    assert await store.snapshots() == [(10, 1)]


async def test_another_tenants_snapshot_is_never_loaded(store: Store) -> None:
    await store.grow_to(10)
    await store.load_and_take()
    assert await store.repository.load(ENTRY, "umbra", ENTRY_ID) == Loaded(STREAM, 0, None)


def test_a_state_that_would_not_come_back_is_not_taken() -> None:
    state = expected(3).model_copy(update={"name": "  a name that today's rules would strip  "})
    with pytest.raises(UnusableSnapshot):
        encode_snapshot(ENTRY, Snapshot(STREAM, 3, state))


BIRTHS: dict[str, Event] = {"entry": created(), "document": uploaded()}
KINDS = pytest.mark.parametrize("aggregate_type", [ENTRY, DOCUMENT], ids=["entry", "document"])


@KINDS
@given(data=st.data())
def test_the_state_of_any_history_that_can_be_stored_comes_back(
    aggregate_type: AggregateType[Any], data: st.DataObject
) -> None:
    history = [BIRTHS[aggregate_type.category], *(_as_stored(event) for event in data.draw(histories(aggregate_type)))]
    snapshot = Snapshot(STREAM, len(history), _state_after(aggregate_type, history))
    stored = encode_snapshot(aggregate_type, snapshot)
    assert decode_snapshot(aggregate_type, STREAM, len(history), stored.state) == snapshot


@KINDS
@given(data=st.data())
def test_a_state_of_looser_rules_is_refused_by_name_at_worst(
    aggregate_type: AggregateType[Any], data: st.DataObject
) -> None:
    state = _state_after(aggregate_type, data.draw(histories(aggregate_type)))
    if state is not None:
        with contextlib.suppress(UnusableSnapshot):
            encode_snapshot(aggregate_type, Snapshot(STREAM, 1, state))


def _as_stored(event: Event) -> Event:
    """Return `event` as the log would give it back, with lawful values where random ones break a rule."""
    fields = event.model_dump()
    lawful = {name: value for name, value in LAWFUL.items() if name in fields}
    try:
        return type(event).model_validate_json(encode(type(event).model_validate(fields | lawful)))
    except (ValidationError, TypeError):
        reject()  # random attributes that no rule lets in: a NUL, a number of more than 64 bits


def _state_after(aggregate_type: AggregateType[Any], history: Sequence[Event]) -> Any:
    state = None
    for event in history:
        state = aggregate_type.evolve(state, event)
    return state
