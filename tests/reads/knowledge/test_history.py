"""The history of an aggregate page by page, and its state at any version or time."""

import tracemalloc

import pytest
from httpx import AsyncClient
from hypothesis import given, settings
from hypothesis import strategies as st

from domain.knowledge.document import DOCUMENT
from domain.knowledge.entry import ENTRY
from queries.knowledge.history import access_events
from tests.api.problem import require_problem
from tests.builders.appends import append_of
from tests.builders.entries import ENTRY_ID, created, linked, unlinked, updated
from tests.builders.histories import histories
from tests.builders.requests import ENTRIES, create_entry
from tests.spec import state_after

STREAM = ENTRY.stream(ENTRY_ID)
HISTORY = f"{ENTRIES}/{ENTRY_ID}/history"
STATE = f"{ENTRIES}/{ENTRY_ID}/state"

UNREADABLE = """
insert into varve.events
       (tenant, position, stream, version, topic, class_version, command_id, data, metadata, recorded_at)
select tenant, position + 1, stream, version + 1, 'knowledge.OfTheFuture', class_version, command_id, data, metadata,
       recorded_at + interval '1 second'
from varve.events order by position desc limit 1
"""


@pytest.fixture
def append(platform):
    """Append events to the entry's stream."""

    async def append_events(*events, after=0):
        await platform.commands._appender.append(append_of({STREAM: events}, after=after))

    return append_events


async def pages(client: AsyncClient, **parameters):
    cursor: dict[str, str] = {}
    for _ in range(20):  # a cursor that stands still would go on for ever
        page = (await client.get(HISTORY, params=parameters | cursor)).json()
        yield [item["version"] for item in page["items"]]
        if page["next_cursor"] is None:
            return
        cursor = {"cursor": page["next_cursor"]}


class TestPages:
    @pytest.mark.parametrize(("limit", "sizes"), [(1, [1] * 7), (3, [3, 3, 1]), (7, [7]), (200, [7])])
    async def test_hold_every_event_once_and_in_order(self, ann: AsyncClient, append, limit, sizes):
        await append(created(), *(linked(f"relation {number}") for number in range(6)))
        found = [page async for page in pages(ann, limit=limit)]
        assert [len(page) for page in found] == sizes
        assert [version for page in found for version in page] == [1, 2, 3, 4, 5, 6, 7]

    async def test_hold_fifty_unless_told_otherwise_and_two_hundred_at_the_most(self, ann: AsyncClient, append):
        await append(created(), *(linked(f"relation {number}") for number in range(250)))
        assert [len(page) async for page in pages(ann)] == [50] * 5 + [1]
        assert [len(page) async for page in pages(ann, limit=200)] == [200, 51]

    async def test_go_on_into_what_was_appended_in_between(self, ann: AsyncClient, append):
        await append(created(), linked())
        first = (await ann.get(HISTORY, params={"limit": 1})).json()
        await append(unlinked(), after=2)
        rest = (await ann.get(HISTORY, params={"cursor": first["next_cursor"]})).json()
        assert [item["event_type"] for item in rest["items"]] == ["KnowledgeEntryLinked", "KnowledgeEntryUnlinked"]

    async def test_of_long_events_are_short_and_still_hold_every_event(self, ann: AsyncClient, append):
        long = "x" * 999_999
        described = (updated(changed=("description",), description=f"{number}{long}") for number in range(10))
        await append(created(), *described)
        assert [page async for page in pages(ann)] == [[1, 2, 3, 4, 5, 6, 7, 8, 9], [10, 11]]

    async def test_read_no_event_of_another_page(self, ann: AsyncClient, append, admin):
        await append(created(), linked())
        await admin.execute(UNREADABLE)
        page = (await ann.get(HISTORY, params={"limit": 2})).json()
        assert [item["version"] for item in page["items"]] == [1, 2]
        assert [item["unknown"] for item in page["items"]] == [None, None]
        (unread,) = (await ann.get(HISTORY, params={"cursor": page["next_cursor"]})).json()["items"]
        assert unread["unknown"]

    @pytest.mark.parametrize("limit", ["0", "201", "-1", "ten", "99999999999999999999"])
    async def test_have_a_limit(self, ann: AsyncClient, limit):
        require_problem(await ann.get(HISTORY, params={"limit": limit}), 422, "invalid-request")

    async def test_know_no_other_parameter(self, ann: AsyncClient):
        require_problem(await ann.get(HISTORY, params={"offset": 1}), 422, "invalid-request")

    @pytest.mark.usefixtures("engine")
    async def test_know_no_cursor_of_another_list(self, ann: AsyncClient, append, await_projections):
        await append(created())
        for _ in range(2):
            await create_entry(ann)
        await await_projections()
        cursor = (await ann.get(ENTRIES, params={"limit": 1})).json()["next_cursor"]
        for wrong in (
            cursor,
            "nonsense",
            "",
            "WyJ2ZXJzaW9uIiwiYSJd",
            "WyJ2ZXJzaW9uIiw5OTk5OTk5OTk5OTk5OTk5OTk5OTk5OV0",
        ):
            require_problem(await ann.get(HISTORY, params={"cursor": wrong}), 400, "invalid-cursor")

    async def test_after_the_end_are_empty(self, ann: AsyncClient, append):
        await append(created())
        for after_everything in ("WyJ2ZXJzaW9uIiw5XQ", "WyJ2ZXJzaW9uIiwxODQ0Njc0NDA3MzcwOTU1MTYxNV0"):
            page = await ann.get(HISTORY, params={"cursor": after_everything})
            assert page.json() == {"items": [], "next_cursor": None}

    async def test_are_hidden_with_the_entry_whatever_they_hold(self, ann: AsyncClient, ben: AsyncClient, append):
        await append(created(), linked(), linked("contradicts"))
        cursor = (await ben.get(HISTORY, params={"limit": 1})).json()["next_cursor"]
        await append(updated(changed=("visibility",), visibility="private"), *[unlinked(), linked()] * 5, after=3)
        for parameters in ({}, {"limit": 1}, {"cursor": cursor}):
            require_problem(await ben.get(HISTORY, params=parameters), 404, "entry-not-found")
            assert (await ann.get(HISTORY, params=parameters)).status_code == 200


class TestTheState:
    async def test_is_folded_from_no_event_after_the_version(self, ann: AsyncClient, append, admin):
        await append(created(), linked())
        times = [item["recorded_at"] for item in (await ann.get(HISTORY)).json()["items"]]
        await admin.execute(UNREADABLE)
        for parameters in (
            {"version": 2},
            {"at": times[1]},
            {"version": 2, "at": times[1]},
            {"version": 9, "at": times[1]},
        ):
            state = await ann.get(STATE, params=parameters)
            assert (state.status_code, state.json()["version"]) == (200, 2), parameters
        assert (await ann.get(STATE)).status_code == 503

    async def test_of_a_long_stream_is_that_of_its_last_event(self, ann: AsyncClient, append):
        await append(created(), *(updated(changed=("name",), name=f"n{number}") for number in range(2, 1202)))
        state = (await ann.get(STATE)).json()
        assert (state["version"], state["state"]["name"]) == (1201, "n1201")

    async def test_of_a_long_stream_is_folded_in_little_memory(self, ann: AsyncClient, append):
        long = "x" * 400_000
        for after in range(0, 100, 20):
            described = [updated(changed=("description",), description=long) for _ in range(20)]
            await append(*(described if after else [created(), *described[1:]]), after=after)
        tracemalloc.start()
        try:
            state = await ann.get(STATE)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert state.json()["version"] == 100
        assert peak < 30_000_000  # of 40 MB that the stream has, each event twice: its bytes, and what they mean

    async def test_is_hidden_with_the_entry_at_every_version(self, ben: AsyncClient, append):
        await append(created(), updated(changed=("visibility",), visibility="private"), linked())
        for parameters in ({}, {"version": 1}, {"version": 3}):
            require_problem(await ben.get(STATE, params=parameters), 404, "entry-not-found")


@pytest.mark.parametrize("aggregate", [ENTRY, DOCUMENT], ids=["entry", "document"])
@given(data=st.data())
@settings(max_examples=300, deadline=None)
def test_who_sees_an_aggregate_is_said_by_the_last_events_that_name_owner_and_visibility(aggregate, data):
    history = data.draw(histories(aggregate))
    last = {
        max(named)
        for kinds in access_events(aggregate)
        if (named := [place for place, event in enumerate(history) if type(event) in kinds])
    }
    whole, short = state_after(aggregate, *history), state_after(aggregate, *(history[place] for place in sorted(last)))
    assert access_of(short) == access_of(whole)


def access_of(state):
    return state and (state.owner, state.visibility)
