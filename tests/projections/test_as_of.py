"""Read models as of a past position: what stood then, to the row, and queries that answer from it."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import pytest
from httpx import AsyncClient

from commands.knowledge.delete_entry import DeleteKnowledgeEntry
from commands.knowledge.update_entry import UpdateKnowledgeEntry
from commands.operations.as_of import AsOfPlan, BuildAsOf, DropAsOf
from domain.knowledge.entry import EntryChanges
from domain.shared.access import Role
from eventstore.batch_appender import open_batch_appender
from eventstore.event_voider import EventVoider
from eventstore.position import LogPosition
from projections.as_of import position_at
from projections.definition import Generation, Projection
from projections.knowledge.entry_list import KnowledgeEntryListView
from projections.operations.operator_requests import OperatorRequests
from queries.errors import AsOfNotFound
from queries.knowledge.entry_list import ListEntries
from queries.search.message import Search
from tests.api.problem import require_problem
from tests.builders import actors
from tests.projections.engines import engine_of, until, until_caught_up
from tests.projections.history import History
from tests.projections.sending import create, create_many, send
from tests.projections.views import read_models

VIEW = KnowledgeEntryListView.NAME
AUDITOR = actors.actor("acme", "una", Role.AUDITOR)
Rows = dict[str, list[str]]


def with_requests(*projections: Projection) -> list[Projection]:
    return [*projections, OperatorRequests({each.NAME: each for each in projections})]


async def rows_of(admin, view: Projection, generation: Generation) -> Rows:
    found = {}
    for name in view.TABLES:
        cursor = await admin.execute(f"select t::text from {generation.table(name)} t order by 1")
        found[name] = [row for (row,) in await cursor.fetchall()]
    return found


async def token(admin, position: int) -> str:
    (epoch,) = await (await admin.execute("select epoch from varve.log_epochs order by number desc limit 1")).fetchone()
    return str(LogPosition(epoch, position))


async def head_of(admin) -> int:
    (head,) = await (await admin.execute("select varve.head()")).fetchone()
    return int(head)


async def build(platform, admin, *names: str, **plan: Any) -> UUID:
    """Have read models built, and wait until they are kept."""
    command = BuildAsOf(plan=AsOfPlan(projections=names, **plan))
    as_of = (await send(platform, command, actors.OTTO_OPERATES)).aggregate_id
    assert as_of is not None

    async def are_kept() -> bool:
        cursor = await admin.execute(
            "select count(*) from varve.generations where as_of = %s and status = 'kept'", (as_of,)
        )
        return await cursor.fetchone() == (len(names),)

    await until(are_kept, f"{', '.join(names)} were built as of then")
    return as_of


async def generation_of(admin, as_of: UUID, name: str) -> Generation:
    cursor = await admin.execute(
        "select generation from varve.generations where as_of = %s and projection = %s", (as_of, name)
    )
    ((number,),) = await cursor.fetchall()
    return Generation(name, number, as_of)


@pytest.fixture
async def listing(settings, platform, admin) -> AsyncIterator[KnowledgeEntryListView]:
    """The list at work, and what does what operators ask for."""
    view = KnowledgeEntryListView()
    async with engine_of(settings, with_requests(view)):
        await until_caught_up(admin, [VIEW])
        yield view


async def test_every_read_model_is_as_it_was_recorded_live(settings, platform, admin, embedding):
    views = read_models(settings, embedding.wake)
    recorded: dict[int, dict[str, Rows]] = {}
    async with engine_of(settings, with_requests(*views)):
        for seed in (3, 4, 5):
            await History(platform, seed).write(10)
            await until_caught_up(admin, [view.NAME for view in views])
            live = {view.NAME: await rows_of(admin, view, Generation(view.NAME, 1)) for view in views}
            recorded[await head_of(admin)] = live
        await History(platform, seed=6).write(20)
        for position, rows in recorded.items():
            as_of = await build(platform, admin, *rows, position=await token(admin, position))
            built = {
                view.NAME: await rows_of(admin, view, await generation_of(admin, as_of, view.NAME)) for view in views
            }
            assert built == rows
    sizes = [len(rows["search_text"]["chunks"]) for rows in recorded.values()]
    assert len(set(sizes)) == 3


async def test_lists_and_searches_are_answered_as_they_would_have_been(settings, platform, admin, embedding):
    views = [view for view in read_models(settings, embedding.wake) if view.NAME != "user_activity"]
    names = [view.NAME for view in views]

    async def answers(as_of: UUID | None = None) -> list[Any]:
        listed = await platform.queries.ask(ListEntries(limit=200), AUDITOR, as_of=as_of)
        found = [
            await platform.queries.ask(Search(q="clay glacier", mode=mode, limit=50), AUDITOR, as_of=as_of)
            for mode in ("text", "vector", "hybrid")
        ]
        hits = [[(hit.source_id, hit.passage.text, round(hit.score, 6)) for hit in each.value.hits] for each in found]
        assert not any(each.value.degraded for each in found)
        return [[(item.entry_id, item.name, item.tags) for item in listed.value.items], *hits]

    async with engine_of(settings, with_requests(*views)):
        await History(platform, seed=8).write(20)
        await until_caught_up(admin, names)
        then, position = await answers(), await head_of(admin)
        await History(platform, seed=9).write(20)
        await until_caught_up(admin, names)
        assert await answers() != then
        as_of = await build(platform, admin, *names, position=await token(admin, position))
        assert await answers(as_of) == then
        assert (await platform.queries.ask(ListEntries(), AUDITOR, as_of=as_of)).position == position
    assert all(then)


async def test_a_time_is_that_of_the_last_event_by_then(platform, admin, listing):
    await create_many(platform, 3)
    await create(platform, "one")
    (before,) = await (await admin.execute("select clock_timestamp()")).fetchone()
    await create(platform, "later")
    as_of = await build(platform, admin, VIEW, time=before)
    assert len((await rows_of(admin, listing, await generation_of(admin, as_of, VIEW)))["entries"]) == 4


async def test_every_time_is_found_by_bisection(platform, admin):
    for number in range(7):
        await create_many(platform, 1 + number % 3)
    events = await (await admin.execute("select position, recorded_at from varve.events order by position")).fetchall()
    head = events[-1][0]
    for _, time in events:
        expected = max(position for position, recorded_at in events if recorded_at <= time)
        assert await position_at(admin, time, head) == expected
    assert await position_at(admin, datetime(1970, 1, 1, tzinfo=UTC), head) == 0
    assert await position_at(admin, datetime(9999, 1, 1, tzinfo=UTC), head) == head


async def test_what_was_voided_later_was_not_voided_then(settings, platform, admin, listing):
    async def void(position: int) -> None:
        async with open_batch_appender(settings.role_url("varve_writer")) as appender:
            wrong = LogPosition((await token(admin, position)).partition("-")[0], position)
            await EventVoider(admin, appender).void("acme", wrong, "a test", "otto")

    entry = await create(platform, "right")
    await send(platform, UpdateKnowledgeEntry(entry_id=entry, changes=EntryChanges(name="wrong")))
    wrong = await head_of(admin)
    await send(platform, UpdateKnowledgeEntry(entry_id=entry, changes=EntryChanges(tags=("clay",))))
    before = await head_of(admin)
    await void(wrong)
    after = await head_of(admin)
    await send(platform, DeleteKnowledgeEntry(entry_id=entry))
    for position, name in ((wrong, "wrong"), (wrong - 1, "right")):
        as_of = await build(platform, admin, VIEW, position=await token(admin, position))
        answer = await platform.queries.ask(ListEntries(), AUDITOR, as_of=as_of)
        assert [item.name for item in answer.value.items] == [name]
    # An update says all of what it leaves: the later one has the wrong name, too, and its tags.
    voided = {}
    for position in (before, after):
        as_of = await build(platform, admin, VIEW, position=await token(admin, position))
        answer = await platform.queries.ask(ListEntries(), AUDITOR, as_of=as_of)
        voided[position] = [item.version for item in answer.value.items]
    assert voided == {before: [3], after: [4]}


async def test_what_was_skipped_later_was_not_skipped_then(settings, platform, admin):
    class InLanes(KnowledgeEntryListView):
        LANES = 3

    for _ in range(6):
        await create(platform)
    await admin.execute("insert into varve.skipped (projection, position, skipped_by) values (%s, 2, 5)", (VIEW,))
    async with engine_of(settings, with_requests(InLanes())):
        built = {}
        for position in (4, 5):
            as_of = await build(platform, admin, VIEW, position=await token(admin, position))
            answer = await platform.queries.ask(ListEntries(limit=200), AUDITOR, as_of=as_of)
            built[position] = len(answer.value.items)
    assert built == {4: 4, 5: 4}


async def test_one_tenant_alone_is_built(platform, admin, listing):
    await create(platform, "ours")
    await create(platform, "theirs", actors.EVE)
    as_of = await build(platform, admin, VIEW, tenant="umbra", position=await token(admin, 2))
    (row,) = (await rows_of(admin, listing, await generation_of(admin, as_of, VIEW)))["entries"]
    assert row.startswith("(umbra,")
    elsewhere = await platform.queries.ask(ListEntries(), actors.UMA_ADMINISTERS_ELSEWHERE, as_of=as_of)
    assert [item.name for item in elsewhere.value.items] == ["theirs"]
    with pytest.raises(AsOfNotFound):
        await platform.queries.ask(ListEntries(), AUDITOR, as_of=as_of)


async def test_it_stays_as_it_is_beside_rebuilds_and_goes_when_it_is_dropped(platform, admin, listing):
    await create(platform, "then")
    first = await build(platform, admin, VIEW, position=await token(admin, 1))
    await create(platform, "now")
    await until_caught_up(admin, [VIEW])
    assert len((await rows_of(admin, listing, await generation_of(admin, first, VIEW)))["entries"]) == 1

    async def is_gone() -> bool:
        return (await admin.execute("select from pg_tables where schemaname = 'as_of'")).rowcount == 0

    assert not await is_gone()
    await send(platform, DropAsOf(as_of_id=first), actors.OTTO_OPERATES)
    await until(is_gone, "its tables are dropped")
    with pytest.raises(AsOfNotFound):
        await platform.queries.ask(ListEntries(), AUDITOR, as_of=first)
    assert len((await platform.queries.ask(ListEntries(), actors.ANN)).value.items) == 2


async def test_it_is_asked_over_http_by_those_who_may_audit(
    ann, client_of, otto: AsyncClient, platform, admin, listing
):
    await create(platform, "then")
    wanted = {"projections": [VIEW], "position": await token(admin, 1)}
    started = await otto.post("/api/v1/admin/as-of", json=wanted)
    assert started.status_code == 202, started.text
    as_of = started.json()["aggregate_id"]
    await create(platform, "now")
    headers = {"X-As-Of": as_of}
    auditor = client_of(AUDITOR)

    async def is_kept() -> bool:
        return [each["status"] for each in (await auditor.get("/api/v1/admin/as-of")).json()] == ["kept"]

    await until(is_kept, "it is built")
    answer = await auditor.get("/api/v1/entries", headers=headers)
    assert [item["name"] for item in answer.json()["items"]] == ["then"]
    assert answer.headers["X-Position"] == wanted["position"]
    require_problem(await ann.get("/api/v1/entries", headers=headers), 403, "permission-denied")
    require_problem(await auditor.get("/api/v1/entries", headers={"X-As-Of": str(uuid4())}), 404, "as-of-not-found")
    require_problem(await auditor.get("/api/v1/documents", headers=headers), 404, "as-of-not-found")
    require_problem(await otto.get("/api/v1/entries", headers=headers), 403, "permission-denied")
    require_problem(await auditor.post("/api/v1/admin/as-of", json=wanted), 403, "permission-denied")
    elsewhere = client_of(actors.UMA_ADMINISTERS_ELSEWHERE)
    assert (await elsewhere.get("/api/v1/entries", headers=headers)).json()["items"] == []
    assert (await otto.delete(f"/api/v1/admin/as-of/{as_of}")).status_code == 204


@pytest.mark.parametrize(
    "plan",
    [
        {"projections": [VIEW]},
        {"projections": [VIEW], "position": "0123456789ab-1", "time": "2026-01-01T00:00:00Z"},
        {"projections": [], "position": "0123456789ab-1"},
        {"projections": [VIEW], "time": "2026-01-01T00:00:00"},
    ],
)
async def test_what_names_no_moment_is_refused(otto: AsyncClient, plan):
    require_problem(await otto.post("/api/v1/admin/as-of", json=plan), 422, "invalid-request")


@pytest.mark.parametrize(
    ("moment", "there"),
    [
        ({"position": "{epoch}-0"}, "Its first event was recorded at"),
        ({"position": "{epoch}-99"}, "It ends at"),
        ({"position": "0123456789ab-1"}, "It is no position of this log's present history."),
        ({"time": "2001-01-01T00:00:00Z"}, "Its first event was recorded at"),
        ({"time": "9999-01-01T00:00:00Z"}, "now."),
    ],
)
async def test_a_moment_that_the_log_does_not_have_is_refused(otto: AsyncClient, platform, admin, moment, there):
    await create(platform, "then")
    epoch = (await token(admin, 1)).partition("-")[0]
    plan = {name: value.replace("{epoch}", epoch) for name, value in moment.items()}
    refused = await otto.post("/api/v1/admin/as-of", json={"projections": [VIEW], **plan})
    require_problem(refused, 409, "as-of-outside-the-log")
    assert there in refused.json()["detail"]


async def test_an_empty_log_has_no_past(otto: AsyncClient):
    wanted = {"projections": [VIEW], "time": "2026-01-01T00:00:00Z"}
    refused = await otto.post("/api/v1/admin/as-of", json=wanted)
    require_problem(refused, 409, "as-of-outside-the-log")
    assert "It is empty." in refused.json()["detail"]


async def test_what_is_not_there_or_was_dropped_is_not_dropped(otto: AsyncClient, platform, admin):
    await create(platform, "then")
    require_problem(await otto.delete(f"/api/v1/admin/as-of/{uuid4()}"), 409, "as-of-not-there")
    wanted = {"projections": [VIEW], "position": await token(admin, 1)}
    started = await otto.post("/api/v1/admin/as-of", json=wanted)
    path = f"/api/v1/admin/as-of/{started.json()['aggregate_id']}"
    answers = await asyncio.gather(*(otto.delete(path) for _ in range(4)))  # not built yet: nothing runs here
    assert sorted(each.status_code for each in answers) == [204, 409, 409, 409]


async def test_a_tenant_without_events_has_no_past(otto: AsyncClient, platform, admin):
    await create(platform, "then")
    wanted = {"projections": [VIEW], "position": await token(admin, 1), "tenant": "nobody"}
    require_problem(await otto.post("/api/v1/admin/as-of", json=wanted), 409, "tenant-has-no-events")
