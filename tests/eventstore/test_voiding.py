"""Voided events: left out by loads, states, the library's application and the read models; kept by the log."""

import asyncio
from contextlib import closing
from functools import partial

import psycopg
import pytest
from eventsourcing.dcb.api import DCBAppendCondition, DCBEvent, DCBQuery, DCBQueryItem
from eventsourcing.persistence import IntegrityError

from domain.knowledge.entry import ENTRY
from eventstore.append import Appender
from eventstore.batch_appender import open_batch_appender
from eventstore.datastore import Datastore
from eventstore.dcb import VarveDCBRecorder
from eventstore.errors import StreamConflict
from eventstore.event_voider import EventVoider, NotVoidable
from eventstore.load import AggregateRepository
from eventstore.log import LogReader
from eventstore.log_filter import LogFilter
from eventstore.mapper import PydanticMapper
from eventstore.persistence import acting_for
from eventstore.position import LogPosition
from eventstore.prepare import prepare_rows
from eventstore.rows import EventRow
from eventstore.scope import Scope
from eventstore.snapshots import Snapshot, SnapshotPolicy, SnapshotTaker, encode_snapshot
from eventstore.voiding import EventVoided
from tests.builders.appends import append_of
from tests.builders.entries import ENTRY_ID, created, deleted, linked
from tests.spec import state_after
from varve.bootstrap import event_types, open_application
from varve.settings import LOGIN_ROLES

STREAM = ENTRY.stream(ENTRY_ID)
HISTORY = [created(), linked(), deleted()]


@pytest.fixture
async def void(settings):
    """Void the event at a position."""
    url = settings.role_url("varve_admin")
    async with (
        await psycopg.AsyncConnection.connect(url, autocommit=True) as connection,
        open_batch_appender(settings.role_url("varve_writer")) as batches,
    ):
        voider = EventVoider(connection, batches)

        async def void_at(position: int, tenant: str = "acme"):
            return await voider.void(tenant, LogPosition("0" * 12, position), "it was a mistake", "otto")

        yield void_at


@pytest.fixture
def repository(writer_pool):
    return AggregateRepository(writer_pool, PydanticMapper(event_types()))


async def test_a_load_leaves_out_what_was_voided_and_its_stream_has_moved_on(appender: Appender, repository, void):
    await appender.append(append_of({STREAM: HISTORY}))
    await void(3)
    loaded = await repository.load(ENTRY, "acme", ENTRY_ID)
    assert (loaded.version, loaded.state) == (4, state_after(ENTRY, created(), linked()))


async def test_whoever_decided_on_the_wrong_event_gets_a_conflict(appender: Appender, void):
    await appender.append(append_of({STREAM: HISTORY}))
    await void(3)
    with pytest.raises(StreamConflict):
        await appender.append(append_of({STREAM: [linked()]}, after=3))
    await appender.append(append_of({STREAM: [linked()]}, after=4))


async def test_a_snapshot_that_holds_a_voided_event_is_not_used(appender: Appender, writer_pool, void, admin):
    taker = SnapshotTaker(writer_pool, SnapshotPolicy(events=1))
    repository = AggregateRepository(writer_pool, PydanticMapper(event_types()), taker.note)
    await appender.append(append_of({STREAM: HISTORY}))
    for _ in range(2):  # the second load's snapshot is one that was under way when the event was voided
        await repository.load(ENTRY, "acme", ENTRY_ID)
        await taker.write_waiting()
    taken = await (await admin.execute("select * from varve.snapshots")).fetchall()
    assert len(taken) == 1
    await void(3)
    assert (await admin.execute("select from varve.snapshots")).rowcount == 0
    await admin.execute("insert into varve.snapshots values (%s, %s, %s, %s, %s, %s, %s)", taken[0])
    loaded = await repository.load(ENTRY, "acme", ENTRY_ID)
    assert (loaded.version, loaded.state) == (4, state_after(ENTRY, created(), linked()))
    await taker.write_waiting()
    assert await repository.load(ENTRY, "acme", ENTRY_ID) == loaded
    assert (await admin.execute("select from varve.snapshots where version = 4")).rowcount == 1


async def test_a_snapshot_from_before_the_voided_event_is_still_used(appender: Appender, writer_pool, void, admin):
    taker = SnapshotTaker(writer_pool, SnapshotPolicy(events=1))
    repository = AggregateRepository(writer_pool, PydanticMapper(event_types()), taker.note)
    await appender.append(append_of({STREAM: [created(), linked()]}))
    await repository.load(ENTRY, "acme", ENTRY_ID)
    await taker.write_waiting()
    await appender.append(append_of({STREAM: [deleted()]}, after=2))
    await void(3)
    assert (await admin.execute("select from varve.snapshots where version = 2")).rowcount == 1
    loaded = await repository.load(ENTRY, "acme", ENTRY_ID)
    assert (loaded.version, loaded.state) == (4, state_after(ENTRY, created(), linked()))


async def test_the_library_s_application_leaves_it_out_and_shows_what_was_believed_before(
    settings, appender: Appender, void
):
    await appender.append(append_of({STREAM: HISTORY}))
    await void(3)

    def states():
        with open_application(settings, "varve_writer") as application, acting_for("acme"):
            projector = application.projector(ENTRY)
            return [
                application.repository.get(STREAM, version=version, projector_func=projector) for version in (None, 3)
            ]

    now, then = await asyncio.to_thread(states)
    assert (now.version, now.state) == (4, state_after(ENTRY, created(), linked()))
    assert (then.version, then.state) == (3, state_after(ENTRY, *HISTORY))


async def test_the_library_s_application_does_not_use_a_snapshot_that_holds_it(
    settings, appender: Appender, void, admin
):
    def loaded():
        with open_application(settings, "varve_writer") as application, acting_for("acme"):
            return application.repository.get(STREAM, projector_func=application.projector(ENTRY))

    await appender.append(append_of({STREAM: HISTORY}))
    stored = encode_snapshot(ENTRY, Snapshot(STREAM, 3, state_after(ENTRY, *HISTORY)))
    await void(3)
    await admin.execute(  # it was under way when the event was voided
        "insert into varve.snapshots (tenant, stream, version, schema_version, topic, data)"
        " values ('acme', %s, 3, %s, %s, %s)",
        (STREAM, stored.class_version, stored.topic, stored.state),
    )
    entry = await asyncio.to_thread(loaded)
    assert (entry.version, entry.state) == (4, state_after(ENTRY, created(), linked()))


async def test_readers_may_leave_it_out_and_the_log_keeps_it(appender: Appender, void, admin):
    await appender.append(append_of({STREAM: HISTORY}))
    await void(2)
    reader = LogReader(event_types())
    whole = await reader.window(admin, 0, 10)
    left = await reader.window(admin, 0, 10, LogFilter(leaves_out_voided=True))
    assert [event.position for event in whole.events] == [1, 2, 3, 4]
    assert [event.position for event in left.events] == [1, 3, 4]
    assert whole.events[-1].event == EventVoided(
        position=2, version=2, topic="knowledge.KnowledgeEntryLinked", reason="it was a mistake"
    )


async def test_what_can_not_be_voided_is_refused_and_the_attempt_audited(appender: Appender, void, admin):
    await appender.append(append_of({STREAM: HISTORY}))
    await void(3)
    for position, tenant in ((99, "acme"), (1, "umbra"), (4, "acme"), (3, "acme")):
        with pytest.raises(NotVoidable):
            await void(position, tenant)
    cursor = await admin.execute(
        "select status, count(*) from varve.commands where command_type = 'VoidEvent' and user_id = 'otto' group by 1"
    )
    assert dict(await cursor.fetchall()) == {"accepted": 1, "refused": 4}
    assert (await admin.execute("select from varve.events")).rowcount == 4


async def test_of_two_who_void_the_same_event_one_is_refused(appender: Appender, void):
    await appender.append(append_of({STREAM: HISTORY}))
    outcomes = await asyncio.gather(*(void(3) for _ in range(4)), return_exceptions=True)
    assert sorted(type(outcome).__name__ for outcome in outcomes) == ["NotVoidable"] * 3 + ["Voided"]


async def test_an_event_without_a_stream_is_voided_once(settings, void, admin):
    row = EventRow(None, None, "knowledge.KnowledgeEntryDeleted", 1, b"{}", ("course:1",))
    async with open_batch_appender(settings.role_url("varve_writer")) as batches:
        await batches.append(prepare_rows("acme", ENTRY_ID, [row], {}))
    outcomes = await asyncio.gather(void(1), void(1), return_exceptions=True)
    assert sorted(type(outcome).__name__ for outcome in outcomes) == ["NotVoidable", "Voided"]
    cursor = await admin.execute("select position, stream, voided_by from varve.voided")
    assert await cursor.fetchall() == [(1, None, 2)]


class TestReadingByTags:
    """The library's recorder of events that have tags instead of a stream."""

    @pytest.fixture
    def recorder(self, settings):
        with closing(Datastore(settings.role_url("varve_writer"))) as datastore:
            yield VarveDCBRecorder(datastore, Scope(lambda: "acme"))

    @pytest.fixture
    async def booked(self, recorder):
        """Three seats; the second one was a mistake."""
        events = [DCBEvent("SeatBooked", b"{}", ["hall", f"seat:{number}"]) for number in (1, 2, 3)]
        await asyncio.to_thread(recorder.append, events)

    @pytest.fixture
    async def voided(self, booked, void):
        await void(2)

    @pytest.mark.parametrize(
        ("item", "positions"),
        [
            (DCBQueryItem(tags=["hall"]), [1, 3]),
            (DCBQueryItem(types=["SeatBooked"]), [1, 3]),
            (DCBQueryItem(tags=["hall", "seat:2"]), []),
            (DCBQueryItem(), [1, 3]),
        ],
    )
    async def test_what_was_voided_and_what_voids_it_are_left_out(self, recorder, voided, item, positions):
        response = await asyncio.to_thread(recorder.read, DCBQuery([item]))
        found = await asyncio.to_thread(list, response)
        assert ([each.position for each in found], response.head) == (positions, 4)

    async def test_a_limit_counts_what_is_left(self, recorder, voided):
        response = await asyncio.to_thread(partial(recorder.read, DCBQuery(), limit=2))
        assert [each.position for each in await asyncio.to_thread(list, response)] == [1, 3]

    async def test_whoever_decided_on_it_is_refused(self, recorder, booked, void):
        query = DCBQuery([DCBQueryItem(tags=["hall"])])
        head = (await asyncio.to_thread(recorder.read, query)).head
        await void(2)
        condition = DCBAppendCondition(fail_if_events_match=query, after=head)
        with pytest.raises(IntegrityError):
            await asyncio.to_thread(recorder.append, [DCBEvent("HallClosed", b"{}", ["hall"])], condition)


@pytest.mark.parametrize("role", LOGIN_ROLES)
async def test_what_is_voided_can_not_be_said_by_anyone_but_the_log(settings, role):
    async with await psycopg.AsyncConnection.connect(settings.role_url(role)) as connection:
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            await connection.execute("insert into varve.voided values ('acme', 1, null, null, 2, null)")
