"""Rebuilds that are swapped when asked, only compared, or put among the live rows of one tenant."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from psycopg.rows import dict_row

from commands.operations.projections import (
    CancelRebuild,
    PauseProjection,
    RebuildPlan,
    RebuildProjection,
    ResumeProjection,
    SwapProjection,
)
from projections.activity.user_activity import UserActivityView
from projections.definition import Projection
from projections.knowledge.document_status import DocumentStatusView
from projections.knowledge.entry_list import KnowledgeEntryListView
from projections.operations.operator_requests import OperatorRequests
from tests.builders import actors
from tests.fixtures.engine import running
from tests.projections.comparing import stored_tables
from tests.projections.counting import Choosy, slowly
from tests.projections.engines import engine_of, lanes, live_generation, until, until_caught_up, until_live
from tests.projections.history import History
from tests.projections.sending import create, create_many, send
from varve.bootstrap import open_platform

VIEW = KnowledgeEntryListView.NAME


def with_requests(*projections: Projection) -> list[Projection]:
    return [*projections, OperatorRequests({each.NAME: each for each in projections})]


async def ask(platform, command) -> None:
    await send(platform, command, actors.OTTO_OPERATES)


def planned(purpose: Any, tenant: str | None = None, projection: str = VIEW) -> RebuildProjection:
    return RebuildProjection(projection=projection, plan=RebuildPlan(purpose=purpose, tenant=tenant))


async def statuses(admin, projection: str = VIEW) -> list[tuple[int, str]]:
    found = {(lane["generation"], lane["status"]) for lane in await lanes(admin, projection)}
    return sorted(found)


async def verifications(admin) -> list[dict[str, Any]]:
    cursor = admin.cursor(row_factory=dict_row)
    await cursor.execute("select * from varve.verifications order by projection, generation")
    return await cursor.fetchall()


async def until_verified(admin, count: int = 1) -> dict[str, Any]:
    async def is_verified() -> bool:
        return len(await verifications(admin)) == count

    await until(is_verified, "the generations were compared")
    return (await verifications(admin))[-1]


async def until_dropped(admin, projection: str = VIEW) -> None:
    async def is_dropped() -> bool:
        return [number for number, _ in await statuses(admin, projection)] == [1]

    await until(is_dropped, "only the live generation is left")
    cursor = await admin.execute("select tablename from pg_tables where schemaname = 'read_models'")
    assert not [name for (name,) in await cursor.fetchall() if name.startswith(f"{projection}_2")]


async def rows_of(admin, view: Projection, generation: int = 1) -> dict[str, list[str]]:
    tables = await stored_tables(admin, view, generation)
    return {table: sorted(map(repr, rows)) for table, rows in tables.items()}


@pytest.fixture
async def engine(settings, platform, admin) -> AsyncIterator[None]:
    """The list at work, and what does what operators ask for."""
    async with engine_of(settings, with_requests(KnowledgeEntryListView())):
        await until_caught_up(admin, [VIEW])
        yield


async def test_a_rebuild_that_waits_for_being_asked_keeps_up_and_is_swapped_then(platform, admin, engine):
    async def has_kept_up() -> bool:
        (head,) = await (await admin.execute("select varve.head()")).fetchone()
        found = await lanes(admin, VIEW)
        return {lane["generation"] for lane in found} == {1, 2} and all(lane["position"] == head for lane in found)

    await create_many(platform, 20)
    await ask(platform, planned("hold"))
    await until(has_kept_up, "the new generation has all")
    await create_many(platform, 5)
    await until(has_kept_up, "the new generation has what came since")
    assert await statuses(admin) == [(1, "live"), (2, "building")]
    await ask(platform, SwapProjection(projection=VIEW))
    await until_live(admin, VIEW, 2)
    assert await rows_of(admin, KnowledgeEntryListView(), 1) == await rows_of(admin, KnowledgeEntryListView(), 2)


async def test_a_rebuild_alone_is_paused_and_resumed(settings, platform, admin):
    slow: Any = slowly(KnowledgeEntryListView, 5, lambda: 0.02)
    view = slow()
    await create_many(platform, 200)

    async def is_begun() -> bool:
        found = [lane for lane in await lanes(admin, VIEW) if lane["status"] == "building"]
        return bool(found) and found[0]["position"] > 0

    async with engine_of(settings, with_requests(view)):
        await until_caught_up(admin, [VIEW])
        await ask(platform, RebuildProjection(projection=VIEW))
        await until(is_begun, "the rebuild has begun")
        await ask(platform, PauseProjection(projection=VIEW, reason="it is too fast", generation=2))
        await create(platform, "meanwhile")
        await until_caught_up(admin, [VIEW, OperatorRequests.NAME])
        cursor = await admin.execute(
            "select generation, pause_reason from varve.generations where projection = %s", (VIEW,)
        )
        assert sorted(await cursor.fetchall()) == [(1, None), (2, "it is too fast")]
        assert await live_generation(admin, VIEW) == 1
        await ask(platform, ResumeProjection(projection=VIEW, generation=2))
        await until_live(admin, VIEW, 2)


async def test_equal_rows_are_found_equal_though_events_come_all_the_time(settings, platform, admin):
    class InLanes(KnowledgeEntryListView):
        LANES = 3

    views = [InLanes(), DocumentStatusView(), UserActivityView()]

    async def write_on() -> None:
        while True:
            await create(platform)
            await asyncio.sleep(0.005)

    await History(platform, seed=5).write(60)
    async with engine_of(settings, with_requests(*views)):
        await until_caught_up(admin, [view.NAME for view in views])
        async with running(write_on()) as writing:
            for view in views:
                await ask(platform, planned("verify", projection=view.NAME))
            await until_verified(admin, len(views))
            assert not writing.done()
        for view in views:
            await until_dropped(admin, view.NAME)
    found = await verifications(admin)
    assert {row["projection"]: row["differing"] for row in found} == {view.NAME: 0 for view in views}
    assert all(row["position"] > 60 for row in found)


async def test_what_the_live_rows_have_beyond_is_folded_where_they_are_compared(settings, platform, admin):
    slow: Any = slowly(KnowledgeEntryListView, 5, lambda: 0.02)
    await create_many(platform, 100)
    async with engine_of(settings, with_requests(slow())):
        await until_caught_up(admin, [VIEW])
        await ask(platform, planned("verify"))
        await until_caught_up(admin, [OperatorRequests.NAME])
        ((end,),) = await (await admin.execute("select up_to from varve.generations where up_to > 0")).fetchall()
        await create_many(platform, 7)
        await until_caught_up(admin, [VIEW])
        found = await until_verified(admin)
    assert (found["position"], found["differing"]) == (end + 7, 0)


async def test_lanes_follow_when_too_much_is_beyond_or_it_cannot_be_folded(settings, platform, admin, monkeypatch):
    monkeypatch.setattr("projections.levelling._MOST_FOLDED", 0)
    slow: Any = slowly(KnowledgeEntryListView, 5, lambda: 0.02)
    await create_many(platform, 100)
    async with engine_of(settings, with_requests(slow())):
        await until_caught_up(admin, [VIEW])
        await ask(platform, planned("verify"))
        await until_caught_up(admin, [OperatorRequests.NAME])
        await create_many(platform, 7)
        found = await until_verified(admin)
    assert (found["position"], found["differing"]) == (108, 0)


async def test_an_event_that_cannot_be_folded_is_left_to_the_lanes_which_park_it(settings, admin, monkeypatch):
    monkeypatch.setattr("varve.bootstrap.rebuildable", lambda: frozenset({"choosy"}))

    class FailsInRebuilds(Choosy):
        async def apply(self, connection, generation, events, prepared):
            await super().apply(connection, generation, events, prepared)
            if generation.number == 2 and any(event.position == 102 for event in events):
                raise ValueError("cannot apply this")

    slow: Any = slowly(FailsInRebuilds, 5, lambda: 0.02)
    async with open_platform(settings) as platform, engine_of(settings, with_requests(slow())):
        await create_many(platform, 100)
        await until_caught_up(admin, ["choosy"])
        await ask(platform, planned("verify", projection="choosy"))
        await until_caught_up(admin, [OperatorRequests.NAME])
        bad = await create(platform, "bad")
        await until_caught_up(admin, ["choosy"])
        found = await until_verified(admin)
    assert (found["position"], found["differing"]) == (102, 1)
    assert found["some_keys"] == {"lists": [{"tenant": "acme", "stream": f"entry-{bad}"}]}


async def test_what_differs_is_counted_by_row_and_named_by_key(platform, admin, engine):
    changed, gone = await create(platform, "changed"), await create(platform, "gone")
    await create_many(platform, 10)
    await until_caught_up(admin, [VIEW])
    table = f"read_models.{VIEW}_1_entries"
    await admin.execute(f"update {table} set name = 'wrong' where entry_id = %s", (changed,))
    await admin.execute(f"delete from {table} where entry_id = %s", (gone,))
    await admin.execute(f"insert into read_models.{VIEW}_1_tags values ('acme', 'made up', %s)", (changed,))
    await ask(platform, planned("verify"))
    found = await until_verified(admin)
    assert (found["differing"], found["by_table"], found["is_repaired"]) == (3, {"entries": 2, "tags": 1}, False)
    assert {key["entry_id"] for key in found["some_keys"]["entries"]} == {str(changed), str(gone)}
    assert found["some_keys"]["tags"] == [{"tenant": "acme", "tag": "made up", "entry_id": str(changed)}]
    await until_dropped(admin)
    (row,) = await (await admin.execute(f"select name from {table} where entry_id = %s", (changed,))).fetchall()
    assert row == ("wrong",), "a comparison changes nothing"


async def test_one_tenant_is_compared_alone(platform, admin, engine):
    await create(platform, "ours")
    await create(platform, "theirs", actors.EVE)
    await until_caught_up(admin, [VIEW])
    await admin.execute(f"update read_models.{VIEW}_1_entries set name = 'wrong' where tenant = 'umbra'")
    await ask(platform, planned("verify", "acme"))
    assert (await until_verified(admin))["differing"] == 0
    await until_dropped(admin)
    await ask(platform, planned("verify", "umbra"))
    found = await until_verified(admin, 2)
    assert (found["only_tenant"], found["differing"]) == ("umbra", 1)


async def test_a_repair_of_one_tenant_leaves_all_others_as_they_are(platform, admin, engine):
    await create_many(platform, 20)
    await create_many(platform, 20, actors.EVE)
    await until_caught_up(admin, [VIEW])
    right = await rows_of(admin, KnowledgeEntryListView())
    table = f"read_models.{VIEW}_1_entries"
    await admin.execute(f"update {table} set name = 'wrong'")
    await admin.execute(f"delete from {table} where tenant = 'umbra' and position %% 2 = 0", ())
    await admin.execute(
        f"insert into {table} select 'umbra', gen_random_uuid(), owner, visibility, name, description, "
        f"entity_type, category, tags, attributes, links, is_active, version, position, created_at, "
        f"updated_at from {table} where tenant = 'acme' limit 1"
    )
    await ask(platform, planned("repair", "umbra"))
    found = await until_verified(admin)
    assert (found["is_repaired"], found["differing"]) == (True, 21)
    await until_dropped(admin)
    repaired = await rows_of(admin, KnowledgeEntryListView())
    of_umbra = [row for row in right["entries"] if "'tenant': 'umbra'" in row]
    assert [row for row in repaired["entries"] if "'tenant': 'umbra'" in row] == of_umbra
    assert len(repaired["entries"]) == 40
    assert all("'name': 'wrong'" in row for row in repaired["entries"] if "'tenant': 'acme'" in row)
    await create(platform, "later", actors.EVE)
    await until_caught_up(admin, [VIEW])


async def test_a_repair_waits_for_nobody_for_long_though_events_come_all_the_time(settings, platform, admin):
    class InLanes(KnowledgeEntryListView):
        LANES = 3

    async def write_on(actor) -> None:
        while True:
            await create(platform, "later", actor)
            await asyncio.sleep(0.005)

    await create_many(platform, 200, actors.EVE)
    async with engine_of(settings, with_requests(InLanes())):
        await until_caught_up(admin, [VIEW])
        await admin.execute(f"update read_models.{VIEW}_1_entries set name = 'wrong'")
        async with running(write_on(actors.ANN)) as one, running(write_on(actors.EVE)) as another:
            await ask(platform, planned("repair", "umbra"))
            assert (await until_verified(admin))["differing"] == 200
            assert not one.done()
            assert not another.done()
        await ask(platform, planned("verify"))
        assert (await until_verified(admin, 2))["differing"] == 0


async def test_a_repair_applies_what_was_parked_and_forgets_it(settings, admin, monkeypatch):
    monkeypatch.setattr("varve.bootstrap.rebuildable", lambda: frozenset({"choosy"}))

    async def parked() -> list[tuple[int, str]]:
        return await (await admin.execute("select generation, tenant from varve.parked order by position")).fetchall()

    async def listed() -> set[str]:
        return {
            stream
            for (stream,) in await (await admin.execute("select stream from read_models.choosy_1_lists")).fetchall()
        }

    async def are_listed() -> bool:
        return f"entry-{theirs}" in await listed()

    async with open_platform(settings) as platform:
        bad, theirs = await create(platform, "bad"), await create(platform, "bad", actors.EVE)
        choosy = Choosy(bad, theirs)
        async with engine_of(settings, with_requests(choosy)):
            await until_caught_up(admin, ["choosy"])
            assert await parked() == [(1, "acme"), (1, "umbra")]
            choosy.bad = set()
            await ask(platform, planned("repair", "umbra", "choosy"))
            await until(are_listed, "the tenant's rows were repaired")
            assert await parked() == [(1, "acme")]
            await until_caught_up(admin, ["choosy"])
    assert await listed() == {f"entry-{theirs}"}


async def test_a_comparison_is_given_up_when_asked(settings, platform, admin):
    slow: Any = slowly(KnowledgeEntryListView, 5, lambda: 0.05)
    view = slow()
    await create_many(platform, 100)
    async with engine_of(settings, with_requests(view)):
        await until_caught_up(admin, [VIEW])
        await ask(platform, planned("verify"))
        await ask(platform, CancelRebuild(projection=VIEW))
        await until_caught_up(admin, [VIEW, OperatorRequests.NAME])
        await until_dropped(admin)
    assert await verifications(admin) == []


@pytest.mark.parametrize(("purpose", "tenant"), [("repair", None), ("swap", "acme"), ("hold", "acme")])
def test_a_plan_without_sense_is_refused(purpose, tenant):
    with pytest.raises(ValueError, match="tenant"):
        RebuildPlan(purpose=purpose, tenant=tenant)
