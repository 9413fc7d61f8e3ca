"""Lanes that stand at an event that no running code knows, until an operator voids or skips it, and no longer."""

import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest

from commands.knowledge.link_entries import LinkKnowledgeEntries
from commands.operations.as_of import AsOfPlan, BuildAsOf
from commands.operations.projections import RebuildProjection, SkipParkedEvent
from domain.knowledge.entry import Link
from domain.knowledge.events import KnowledgeEntryCreated, KnowledgeEntryLinked
from domain.operations.errors import ProjectionNotFound
from domain.operations.events import ParkedEventSkipped
from eventstore.batch_appender import open_batch_appender
from eventstore.event_voider import EventVoider
from eventstore.mapper import EventTypes, encode
from eventstore.position import LogPosition
from projections.definition import Projection
from projections.knowledge.entry_list import KnowledgeEntryListView
from projections.operations.operator_requests import OperatorRequests
from projections.registry import reactors, rebuildable
from projections.unknown_events import unknown_event
from tests.builders import actors
from tests.builders.unknown_events import UNKNOWN, append_unknown, token_of
from tests.projections.counting import Choosy, Listed, positions
from tests.projections.engines import engine_of, until, until_caught_up, until_live
from tests.projections.sending import create, create_many, send
from varve.bootstrap import event_types, open_platform

VIEW = KnowledgeEntryListView.NAME
REQUESTS = OperatorRequests.NAME
EVERYTHING = sorted(rebuildable() | reactors())
SECONDS = 5.0
"""In which lanes go on."""
_NEEDED = """
select l.projection, l.needs_position from varve.leases l join varve.generations g using (projection, generation)
where l.needs_position is not null and g.status in ('live', 'building') order by 1, 2
"""


class OtherList(Listed):
    NAME = "other_list"


class Rebuilt(KnowledgeEntryListView):
    VERSION = KnowledgeEntryListView.VERSION + 1


def with_requests(*projections: Projection) -> list[Projection]:
    return [*projections, OperatorRequests({each.NAME: each for each in projections})]


async def standing(admin) -> list[tuple[str, int]]:
    return sorted(set(await (await admin.execute(_NEEDED)).fetchall()))


async def until_standing(admin, position: int, projections: Sequence[str]) -> None:
    async def stand() -> bool:
        return await standing(admin) == [(name, position) for name in sorted(projections)]

    await until(stand, f"{projections} stand at {position}")


@asynccontextmanager
async def at_once() -> AsyncIterator[None]:
    """Fail unless the block is over within the seconds in which lanes go on."""
    began = time.monotonic()
    yield
    assert time.monotonic() - began < SECONDS


@pytest.fixture
async def void(settings, admin):
    """Void an event of the tenant `acme`."""

    async def void_at(position: int) -> None:
        async with open_batch_appender(settings.role_url("varve_writer")) as appender:
            wrong = LogPosition((await token_of(admin, position)).partition("-")[0], position)
            await EventVoider(admin, appender).void("acme", wrong, "nobody knows it", "otto")

    return void_at


@pytest.fixture
async def skip(settings, admin, monkeypatch):
    """Skip an event in a projection, by the command."""
    monkeypatch.setattr("varve.bootstrap.rebuildable", lambda: rebuildable() | {"listed", "other_list", "choosy"})
    async with open_platform(settings) as opened:

        async def skip_at(projection: str, position: int) -> None:
            command = SkipParkedEvent(
                projection=projection, position=await token_of(admin, position), reason="nobody knows it"
            )
            await send(opened, command, actors.OTTO_OPERATES)

        yield skip_at


async def test_every_lane_stands_and_goes_on_at_once_when_the_event_is_voided(platform, admin, engine, embedding, void):
    await create(platform, "before")
    position = await append_unknown(admin)
    await create(platform, "after")
    await until_standing(admin, position, EVERYTHING)
    await void(position)
    async with at_once():
        await until_caught_up(admin, EVERYTHING)
    assert await standing(admin) == []


async def test_only_the_projection_that_skips_it_goes_on_though_the_reactor_stands(
    platform, admin, engine, embedding, skip
):
    position = await append_unknown(admin)
    await create(platform, "after")
    await until_standing(admin, position, EVERYTHING)
    await skip(VIEW, position)
    async with at_once():
        await until_caught_up(admin, [VIEW])
    assert await standing(admin) == [(name, position) for name in EVERYTHING if name != VIEW]
    await skip(REQUESTS, position)
    async with at_once():
        await until_caught_up(admin, [VIEW, REQUESTS])


async def test_a_newer_version_of_a_known_type_is_one_like_another(settings, platform, admin, void, skip):
    position = await append_unknown(admin, KnowledgeEntryCreated.TOPIC, KnowledgeEntryCreated.class_version + 1)
    await create(platform, "after")
    async with engine_of(settings, [Listed(), OtherList()]):
        await until_standing(admin, position, ["listed", "other_list"])
        await skip("listed", position)
        async with at_once():
            await until_caught_up(admin, ["listed"])
        assert await standing(admin) == [("other_list", position)]
        await void(position)
        async with at_once():
            await until_caught_up(admin, ["listed", "other_list"])
    assert await positions(admin, "listed") == await positions(admin, "other_list") == {"acme": [position + 1]}


async def test_events_of_a_type_that_was_taken_out_are_voided_one_after_another(settings, platform, admin, void):
    one, two = await create(platform), await create(platform)
    for number in range(3):
        link = Link(target_id=two, relation=f"r{number}")
        await send(platform, LinkKnowledgeEntries(entry_id=one, link=link))
    await create(platform, "after")
    known = EventTypes(*(event for event in event_types() if event is not KnowledgeEntryLinked))
    async with engine_of(settings, with_requests(Listed()), known=known):
        for position in (3, 4, 5):
            await until_standing(admin, position, ["listed", REQUESTS])
            await void(position)
        async with at_once():
            await until_caught_up(admin, ["listed", REQUESTS])
    assert await positions(admin, "listed") == {"acme": [1, 2, 6]}


async def test_a_skip_that_stands_in_the_log_before_its_lanes_come_there_is_not_lost(settings, platform, admin, skip):
    first, second = await append_unknown(admin), await append_unknown(admin)
    request = ParkedEventSkipped(projection="listed", position=await token_of(admin, second), reason="of older code")
    await append_unknown(admin, request.TOPIC, stream="skip-1", data=encode(request))
    await create(platform, "after")
    async with engine_of(settings, with_requests(Listed())):
        await until_standing(admin, first, ["listed", REQUESTS])
        await skip("listed", first)
        async with at_once():
            await until_caught_up(admin, ["listed"])
    assert await positions(admin, "listed") == {"acme": [4]}


async def test_code_that_knows_the_event_still_takes_the_lanes_over(settings, platform, admin):
    one, two = await create(platform), await create(platform)
    await send(platform, LinkKnowledgeEntries(entry_id=one, link=Link(target_id=two, relation="r")))
    known = EventTypes(*(event for event in event_types() if event is not KnowledgeEntryLinked))
    async with engine_of(settings, [Listed()], known=known):
        await until_standing(admin, 3, ["listed"])
        async with engine_of(settings, [Listed()]):
            await until_caught_up(admin, ["listed"])
    assert await positions(admin, "listed") == {"acme": [1, 2, 3]}


@pytest.mark.parametrize("way", ["void", "skip"])
async def test_a_generation_that_is_filled_stands_there_too_and_is_filled_after_it(
    settings, platform, admin, void, skip, way
):
    await create_many(platform, 20)
    async with engine_of(settings, [KnowledgeEntryListView()]):
        await until_caught_up(admin, [VIEW])
    positions_unknown = [await append_unknown(admin), await append_unknown(admin)]
    await create_many(platform, 20)
    async with engine_of(settings, [Rebuilt()]):  # the one before is nobody's
        for position in positions_unknown:
            await until_standing(admin, position, [VIEW])
            await (void(position) if way == "void" else skip(VIEW, position))
        async with at_once():
            await until_live(admin, VIEW, 2)
    ((entries,),) = await (await admin.execute(f"select count(*) from read_models.{VIEW}_2_entries")).fetchall()
    assert entries == 40


async def test_a_rebuild_that_is_asked_for_later_leaves_out_what_was_skipped(platform, admin, engine, embedding, skip):
    position = await append_unknown(admin)
    await create_many(platform, 5)
    await until_standing(admin, position, EVERYTHING)
    for name in (VIEW, REQUESTS):
        await skip(name, position)
    await until_caught_up(admin, [VIEW, REQUESTS])
    await send(platform, RebuildProjection(projection=VIEW), actors.OTTO_OPERATES)
    await until_live(admin, VIEW, 2)
    await until_caught_up(admin, [VIEW, REQUESTS])


@pytest.mark.parametrize("way", ["void", "skip"])
async def test_read_models_as_of_a_position_before_that_leave_it_out_as_well(
    settings, platform, admin, void, skip, way
):
    await create_many(platform, 3)
    position = await append_unknown(admin)
    await create_many(platform, 3)
    past = position + 2
    async with engine_of(settings, with_requests(KnowledgeEntryListView())):
        await until_standing(admin, position, [VIEW, REQUESTS])
        if way == "void":
            await void(position)
        else:
            await skip(VIEW, position)
            await skip(REQUESTS, position)
        await until_caught_up(admin, [VIEW, REQUESTS])
        plan = AsOfPlan(projections=(VIEW,), position=await token_of(admin, past))
        await send(platform, BuildAsOf(plan=plan), actors.OTTO_OPERATES)

        async def is_kept() -> bool:
            return (await admin.execute("select from varve.generations where status = 'kept'")).rowcount == 1

        async with at_once():
            await until(is_kept, "it was built")
    assert await standing(admin) == []


async def test_a_parked_event_that_older_code_retries_stays_parked_until_it_is_skipped(settings, platform, admin, skip):
    one, two = await create(platform), await create(platform)
    async with engine_of(settings, [Choosy(one)]):
        await send(platform, LinkKnowledgeEntries(entry_id=one, link=Link(target_id=two, relation="r")))
        await until_caught_up(admin, ["choosy"])
    await admin.execute("delete from varve.parked where position = 1")
    known = EventTypes(*(event for event in event_types() if event is not KnowledgeEntryLinked))

    async def parked() -> list[tuple[Any, ...]]:
        return await (await admin.execute("select position, error, is_to_retry from varve.parked")).fetchall()

    async with engine_of(settings, with_requests(Choosy()), known=known), open_platform(settings) as operators:
        await admin.execute("update varve.parked set is_to_retry = true")

        async def was_retried() -> bool:
            return await parked() == [(3, "UnknownEvent", False)]

        await until(was_retried, "the event was tried again")
        await until_caught_up(admin, ["choosy"])
        await skip("choosy", 3)

        async def is_empty() -> bool:
            return not await parked()

        # The reactor of older code may stand at nothing here: the linked event is before its position.
        await skip(REQUESTS, 3)
        await until(is_empty, "nothing is parked")
        del operators


async def test_a_lane_that_an_older_worker_left_without_saying_where_is_looked_at(settings, platform, admin, void):
    position = await append_unknown(admin)
    async with engine_of(settings, [Listed()]):
        await until_standing(admin, position, ["listed"])
    await admin.execute("update varve.leases set needs_position = null")
    async with engine_of(settings, [Listed()]):
        await until_standing(admin, position, ["listed"])
        await void(position)
        await until_caught_up(admin, ["listed"])


async def test_of_a_reactor_nothing_else_is_asked_for(platform):
    with pytest.raises(ProjectionNotFound):
        await send(platform, RebuildProjection(projection=REQUESTS), actors.OTTO_OPERATES)


async def test_the_event_is_named_to_operators_and_its_tenant_is_not(
    settings, platform, admin, otto, engine, embedding, void
):
    position = await append_unknown(admin)
    where = await token_of(admin, position)
    await until_standing(admin, position, EVERYTHING)
    named = [lane for lane in (await otto.get("/api/v1/admin/projections")).json() if lane["status"] == "live"]
    assert {(lane["alarm"], lane["needs"], lane["needs_position"]) for lane in named} == {
        ("needs_newer_code", f"{UNKNOWN} 1", where)
    }
    ready = await otto.get("/health/ready")
    assert (ready.status_code, ready.json()["status"]) == (200, "ready")
    said = ready.json()["warnings"]["projections"]
    assert (
        said
        == f"{len(EVERYTHING)} projections stand at an event that no running code knows: {UNKNOWN} version 1 at {where}"
    )
    assert "acme" not in ready.text
    await void(position)
    await until_caught_up(admin, EVERYTHING)
    assert (await otto.get("/health/ready")).json()["warnings"] == {}
    assert await unknown_event(admin) is None
