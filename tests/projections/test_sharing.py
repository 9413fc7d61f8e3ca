"""Workers share lanes: each its part, none twice, and none that its code does not know."""

import asyncio
from collections import Counter

import psycopg

from commands.knowledge.link_entries import LinkKnowledgeEntries
from domain.knowledge.entry import Link
from domain.knowledge.events import KnowledgeEntryLinked
from eventstore.mapper import EventTypes
from projections.knowledge.entry_list import KnowledgeEntryListView
from tests.projections.comparing import expected_tables, stored_tables
from tests.projections.counting import Listed, counts, named
from tests.projections.engines import engine_of, lanes, until, until_caught_up
from tests.projections.sending import create, create_many, send
from varve.bootstrap import event_types

OLD_CODE = EventTypes(*(event for event in event_types() if event is not KnowledgeEntryLinked))


def by_id(row) -> str:
    return str(row["entry_id"])


async def owners(admin, *names: str) -> Counter[str]:
    return Counter(lane["owner"] for lane in await lanes(admin, *names))


async def until_shared(admin, names: list[str], wanted: dict[str, int]) -> None:
    async def is_shared() -> bool:
        return await owners(admin, *names) == wanted

    await until(is_shared, f"{wanted} have the lanes")


async def test_lanes_are_shared_by_all_workers_and_taken_over_when_one_leaves(settings, platform, admin):
    projections = [named(f"counted_{number}") for number in range(6)]
    names = [each.NAME for each in projections]
    async with engine_of(settings, projections) as first:
        await until_shared(admin, names, {first: 6})
        async with engine_of(settings, projections) as second:
            await until_shared(admin, names, {first: 3, second: 3})
            await create_many(platform, 20)
            async with engine_of(settings, projections) as third:
                await until_shared(admin, names, {first: 2, second: 2, third: 2})
            await until_shared(admin, names, {first: 3, second: 3})
        await until_shared(admin, names, {first: 6})
        await until_caught_up(admin, names)
    assert [await counts(admin, name) for name in names] == [{"acme": 20}] * 6


async def test_the_lanes_of_one_projection_are_spread(settings, admin):
    projections = [named("wide", 2), *(named(f"counted_{number}") for number in range(4))]
    async with engine_of(settings, projections) as first:
        await until_shared(admin, ["wide"], {first: 2})
        async with engine_of(settings, projections) as second:
            await until_shared(admin, ["wide"], {first: 1, second: 1})


async def test_a_worker_that_is_ended_again_while_it_gives_its_lanes_back_gives_them_all_back(settings, admin):
    url = settings.required_database_url()
    async with (
        await psycopg.AsyncConnection.connect(url) as holding,
        asyncio.TaskGroup() as tasks,
        engine_of(settings, [named("counted")]) as worker,
    ):
        await until_shared(admin, ["counted"], {worker: 1})
        await holding.execute("select from varve.leases where projection = 'counted' for update")
        tasks.create_task(released(holding))
    assert await owners(admin, "counted") == {None: 1}


async def released(holding) -> None:
    """Let locks go, after `end` has cancelled a second time and before a statement is tired of waiting."""
    await asyncio.sleep(3)
    await holding.rollback()


async def test_what_only_one_worker_knows_is_all_its_own(settings, admin):
    common = [named(f"common_{number}") for number in range(2)]
    own = [named(f"own_{number}") for number in range(3)]
    async with engine_of(settings, common) as first, engine_of(settings, [*common, *own]) as second:
        await until_shared(admin, [each.NAME for each in own], {second: 3})
        await until_shared(admin, [each.NAME for each in common], {first: 1, second: 1})


async def test_an_event_that_only_newer_code_knows_waits_for_it_and_nothing_is_parked(settings, platform, admin):
    one, two = await create(platform), await create(platform)
    view = KnowledgeEntryListView()

    async def told(*columns: str) -> set[tuple[object, ...]]:
        return {tuple(map(lane.get, columns)) for lane in await lanes(admin, view.NAME)}

    async def needs_newer_code() -> bool:
        return await told("needs_topic", "owner") == {(KnowledgeEntryLinked.TOPIC, None)}

    async with engine_of(settings, [view], known=OLD_CODE):
        await until_caught_up(admin, [view.NAME])
        await send(platform, LinkKnowledgeEntries(entry_id=one, link=Link(target_id=two, relation="cites")))
        await create_many(platform, 5)
        await until(needs_newer_code, "the lanes say what they need")
        assert await told("position") == {(2,)}
        async with engine_of(settings, [view]) as newer:
            await until_caught_up(admin, [view.NAME])
            assert await told("owner") == {(newer,)}
            await create_many(platform, 5)
            await until_caught_up(admin, [view.NAME])
    assert await told("needs_topic") == {(None,)}
    assert await (await admin.execute("select count(*) from varve.parked")).fetchone() == (0,)
    entries = (await stored_tables(admin, view, 1))["entries"]
    expected = (await expected_tables(settings, admin))["knowledge_entry_list"]["entries"]
    assert sorted(entries, key=by_id) == sorted(expected, key=by_id)


async def test_old_and_new_code_run_side_by_side_while_the_newer_type_is_written(settings, platform, admin):
    one, two = await create(platform), await create(platform)
    async with engine_of(settings, [Listed()], known=OLD_CODE), engine_of(settings, [Listed()]):
        for number in range(10):
            await send(platform, LinkKnowledgeEntries(entry_id=one, link=Link(target_id=two, relation=f"r{number}")))
            await create_many(platform, 3)
        await until_caught_up(admin, ["listed"])
    cursor = await admin.execute("select positions from read_models.listed_1_lists")
    ((positions,),) = await cursor.fetchall()
    assert positions == list(range(1, 43))
    assert await (await admin.execute("select count(*) from varve.parked")).fetchone() == (0,)
