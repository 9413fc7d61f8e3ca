"""Dynamic consistency boundaries: the library's recorder, and the check before the lock that commands share with it."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from typing import Any

import psycopg
import pytest
from eventsourcing.dcb.api import DCBAppendCondition, DCBEvent, DCBQuery, DCBQueryItem
from eventsourcing.persistence import DataError, IntegrityError, ProgrammingError

from eventstore.append import Appender
from eventstore.boundary import open_boundary_check
from eventstore.datastore import Datastore
from eventstore.dcb import VarveDCBRecorder
from eventstore.errors import BoundaryCrossed
from eventstore.load import stream_events
from eventstore.matching import MATCHING_OPTIONS, Search, search
from eventstore.prepare import PreparedAppend, prepare_rows
from eventstore.records import Boundary, BoundaryItem
from eventstore.rows import Conditions, EventRow
from eventstore.scope import Scope, acting_for
from tests.builders.appends import append_of
from tests.builders.entries import created
from varve.settings import Settings

MANY = 2_500  # more than two windows

_BOUNDARY_STATEMENT = """
select substring(prosrc from 'select jsonb_object_agg\\(b\\.append[^;]*') from pg_proc where proname = 'append'
"""
_VARIABLES = {
    "into found_answers": "",
    "p_boundary_appends": "null::integer[]",
    "p_boundary_afters": "null::bigint[]",
    "p_boundary_topics": "null::text[]",
    "p_boundary_tags": "null::text[]",
    "p_boundary_other_tags": "null::text[]",
    "p_tenants": "(array['acme'])",
    "p_rounds": "(array[1])",
    "this_round": "1",
    "none_refused": "true",
    "not answers ?": "not '{}'::jsonb ?",
}


@pytest.fixture
def datastore(settings: Settings) -> Iterator[Datastore]:
    with closing(Datastore(settings.role_url("varve_writer"))) as opened:
        yield opened


@pytest.fixture
def recorder(datastore: Datastore) -> VarveDCBRecorder:
    return VarveDCBRecorder(datastore, Scope(lambda: "acme"))


def booked(*tags: str, kind: str = "SeatBooked") -> DCBEvent:
    return DCBEvent(kind, b"{}", list(tags))


def query(*items: tuple[Sequence[str], Sequence[str]]) -> DCBQuery:
    return DCBQuery([DCBQueryItem(list(types), list(tags)) for types, tags in items])


def positions(found: Iterator[Any]) -> list[int]:
    return [event.position for event in found]


class TestReading:
    def test_many_events_come_in_order_and_each_once(self, recorder: VarveDCBRecorder):
        recorder.append([booked("hall", f"seat:{number}") for number in range(MANY)])
        wanted = query(([], ["hall"]), (["SeatBooked"], ["seat:7"]), ([], []))
        assert positions(recorder.read(wanted)) == list(range(1, MANY + 1))

    def test_what_comes_after_the_reading_began_is_not_read(self, recorder: VarveDCBRecorder):
        recorder.append([booked("hall") for _ in range(MANY)])
        response = recorder.read(query(([], ["hall"])))
        recorder.append([booked("hall")])
        assert (len(list(response)), response.head) == (MANY, MANY)

    def test_a_limit_may_be_larger_than_a_window(self, recorder: VarveDCBRecorder):
        recorder.append([booked("hall") for _ in range(MANY)])
        response = recorder.read(limit=MANY - 100)
        assert (len(list(response)), response.head) == (MANY - 100, MANY - 100)

    def test_what_is_rare_is_found_among_many(self, recorder: VarveDCBRecorder):
        recorder.append([booked("hall", "stalls") for _ in range(MANY)])
        last = recorder.append([booked("hall", "balcony", kind="SeatReleased")])
        for items in (([], ["hall", "balcony"]), (["SeatReleased"], []), (["SeatReleased"], ["hall"])):
            response = recorder.read(query(items))
            assert (positions(response), response.head) == ([last], last)

    def test_an_empty_log_has_no_head(self, recorder: VarveDCBRecorder):
        assert recorder.read().head is None

    def test_a_reader_may_be_ahead_of_the_log(self, recorder: VarveDCBRecorder):
        recorder.append([booked("hall")])
        assert positions(recorder.read(after=10)) == []

    def test_other_tenants_are_not_read_but_count_for_the_head(self, datastore, recorder: VarveDCBRecorder):
        other = VarveDCBRecorder(datastore, Scope(lambda: "umbra"))
        last = other.append([booked("hall"), booked("hall")])
        response = recorder.read(query(([], ["hall"])))
        assert (positions(response), response.head) == ([], last)

    def test_a_tag_that_an_event_has_twice_counts_once(self, recorder: VarveDCBRecorder):
        recorder.append([booked("hall", "hall")])
        [read] = recorder.read(query(([], ["hall", "hall"])))
        assert read.event.tags == ["hall"]

    def test_events_of_streams_are_read_by_their_tags(self, datastore, recorder: VarveDCBRecorder):
        row = EventRow("entry-1", 1, "knowledge.EntryCreated", 1, b"{}", ("clay",))
        datastore.append(prepare_rows("acme", append_of().command.command_id, [row], {}))
        assert positions(recorder.read(query((["knowledge.EntryCreated"], ["clay"])))) == [1]


class TestAppending:
    def test_nothing_can_not_be_appended(self, recorder: VarveDCBRecorder):
        with pytest.raises(ProgrammingError):
            recorder.append([])

    def test_what_can_not_be_stored_is_a_data_error(self, recorder: VarveDCBRecorder):
        with pytest.raises(DataError, match="NUL"):
            recorder.append([booked("a NUL \x00")])

    def test_of_many_at_once_one_gets_the_seat(self, recorder: VarveDCBRecorder):
        condition = DCBAppendCondition(query((["SeatBooked"], ["hall", "seat:1"])))

        def book(_: int) -> bool:
            try:
                recorder.append([booked("hall", "seat:1")], condition)
            except IntegrityError:
                return False
            return True

        with ThreadPoolExecutor(16) as pool:
            assert sum(pool.map(book, range(48))) == 1
        assert len(list(recorder.read())) == 1

    def test_the_head_that_was_read_is_what_a_decision_appends_after(self, recorder: VarveDCBRecorder):
        hall = query(([], ["hall"]))
        recorder.append([booked("hall")])
        response = recorder.read(hall)
        recorder.append([booked("street")])
        recorder.append([booked("hall")], DCBAppendCondition(hall, after=response.head))
        with pytest.raises(IntegrityError, match="BoundaryCrossed"):
            recorder.append([booked("hall")], DCBAppendCondition(hall, after=response.head))

    def test_other_tenants_cross_no_boundary(self, datastore, recorder: VarveDCBRecorder):
        VarveDCBRecorder(datastore, Scope(lambda: "umbra")).append([booked("hall")])
        assert recorder.append([booked("hall")], DCBAppendCondition()) == 2

    def test_another_application_crosses_no_boundary(self, datastore: Datastore):
        sales, theatre = (VarveDCBRecorder(datastore, Scope(lambda: "acme", application=name)) for name in "st")
        theatre.append([booked("hall")])
        sales.append([booked("hall")], DCBAppendCondition())
        with pytest.raises(IntegrityError):
            sales.append([booked("hall")], DCBAppendCondition())


class TestSubscribing:
    def test_only_what_matches_is_handed_over(self, recorder: VarveDCBRecorder):
        recorder.append([booked("street") for _ in range(MANY)])
        with recorder.subscribe(query(([], ["hall"]))) as subscription:
            position = recorder.append([booked("hall")])
            assert next(subscription).position == position

    def test_a_subscription_keeps_the_tenant_that_it_began_with(self, datastore: Datastore):
        recorder = VarveDCBRecorder(datastore)
        with acting_for("umbra"):
            recorder.append([booked("hall")])
        with acting_for("acme"):
            position = recorder.append([booked("hall")])
            with recorder.subscribe() as subscription:
                assert next(subscription).position == position


class TestCheckBeforeTheLock:
    """`Append.boundary` of commands."""

    @staticmethod
    def prepared(*items: BoundaryItem, after: int = 0) -> PreparedAppend:
        conditions = Conditions(boundary=Boundary(items, after))
        row = EventRow(None, None, "SeatBooked", 1, b"{}", ("hall",))
        return prepare_rows("acme", append_of().command.command_id, [row], {}, conditions)

    async def test_a_boundary_is_brought_forward_to_the_head(self, recorder: VarveDCBRecorder, settings: Settings):
        head = recorder.append([booked("street") for _ in range(MANY)])
        async with open_boundary_check(settings.role_url("varve_writer")) as check:
            checked = await check.brought_forward(self.prepared(BoundaryItem(tags=("hall",))))
        assert checked.conditions.boundary == Boundary((BoundaryItem(tags=("hall",)),), head)

    async def test_one_that_is_crossed_is_sent_so_that_it_finds_the_event_at_once(
        self, recorder: VarveDCBRecorder, settings: Settings
    ):
        recorder.append([booked("street"), booked("street"), booked("hall"), booked("street")])
        items = (BoundaryItem(("Unknown",), ("street",)), BoundaryItem(tags=("hall",)))
        async with open_boundary_check(settings.role_url("varve_writer")) as check:
            checked = await check.brought_forward(self.prepared(*items))
        assert checked.conditions.boundary == Boundary((BoundaryItem(tags=("hall",)),), 2)

    async def test_what_the_process_knows_to_be_recent_is_not_read(self, settings: Settings):
        prepared = self.prepared(BoundaryItem(tags=("hall",)), after=3)
        async with open_boundary_check(settings.role_url("varve_writer")) as check:
            check.note(1_000)
            assert await check.brought_forward(prepared) is prepared

    async def test_a_command_is_refused_whose_boundary_was_crossed_long_ago(
        self, appender: Appender, recorder: VarveDCBRecorder
    ):
        recorder.append([booked("street"), booked("hall"), *(booked("street") for _ in range(MANY))])
        with pytest.raises(BoundaryCrossed) as refused:
            await appender.append(replace(append_of(), boundary=Boundary((BoundaryItem(tags=("hall",)),))))
        assert refused.value.position == 2

    async def test_a_repeated_command_is_not_crossed_by_its_own_events(self, appender: Appender):
        [new] = stream_events("entry-1", 0, [created()])
        append = replace(
            append_of({}), events=(replace(new, tags=("hall",)),), boundary=Boundary((BoundaryItem(tags=("hall",)),))
        )
        first = await appender.append(append)
        again = await appender.append(append)
        assert (again.position, again.is_repeated) == (first.position, True)


class TestPlans:
    """Plans are made once for each session, maybe while the tables are small; they must do for millions of rows."""

    def test_the_boundary_under_the_lock_needs_no_more_than_the_index(self, settings: Settings):
        with psycopg.connect(settings.required_database_url(), autocommit=True) as admin:
            statement = str((admin.execute(_BOUNDARY_STATEMENT).fetchone() or [""])[0])
            for variable, value in _VARIABLES.items():
                assert variable in statement
                statement = statement.replace(variable, value)
            admin.execute("set search_path = varve; set enable_seqscan = off")
            plan = "\n".join(row[0] for row in admin.execute("explain " + statement))
        assert plan.count("Index Cond: ((tenant = ('{acme}'::text[])[b.append]) AND (tag = ") == 3
        assert plan.count('"position" > b.after') == 3
        assert "Bitmap" not in plan

    def test_searching_walks_the_primary_keys(self, settings: Settings):
        options = f"{MATCHING_OPTIONS} -c plan_cache_mode=force_generic_plan"
        with psycopg.connect(settings.required_database_url(), options=options, autocommit=True) as admin:
            search(admin, Search("acme", (BoundaryItem(),), 0))
            [(name,)] = admin.execute("select name from pg_prepared_statements where statement like '%scanned%'")
            plan = "\n".join(row[0] for row in admin.execute(f"explain execute {name} (null{', null' * 8})"))
        assert 'Index Cond: ((ROW(tenant, "position") > ' in plan
        assert "voided_pkey" in plan
        assert "stream_version" not in plan
