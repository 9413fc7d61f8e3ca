"""Rebuilds without downtime: filled beside, swapped at once, survived by readers and by restarts."""

import asyncio
from contextlib import AsyncExitStack
from typing import Any

import pytest
from httpx import AsyncClient

from commands.operations.projections import CancelRebuild, RebuildProjection, RollBackProjection
from domain.operations.errors import RebuildIsRunning
from projections.definition import Generation
from projections.generations import start_rebuild
from projections.knowledge.entry_list import KnowledgeEntryListView
from projections.operations.operator_requests import OperatorRequests
from projections.rebuilds import swap_when_caught_up
from projections.registry import build_projections, rebuildable
from projections.search.text_leg import SearchTextLeg
from projections.search.vector_leg import SearchVectorLeg
from queries.knowledge.entry_list import ListEntries
from tests.api.problem import require_problem
from tests.builders import actors
from tests.fixtures.engine import running
from tests.projections.comparing import expected_tables, rebuild, stored_tables
from tests.projections.counting import Counted, counts, slowly
from tests.projections.engines import engine_of, lanes, live_generation, until, until_caught_up, until_live
from tests.projections.sending import create, create_many, send
from tests.projections.views import read_models

VIEW = KnowledgeEntryListView.NAME


def slow_view() -> KnowledgeEntryListView:
    """The view, filled so slowly that a test can watch it."""
    slow: Any = slowly(KnowledgeEntryListView, 10, lambda: 0.01)
    return slow()


async def request_rebuild(platform) -> None:
    await send(platform, RebuildProjection(projection=VIEW), actors.OTTO_OPERATES)


async def statuses(admin, projection: str = VIEW) -> list[tuple[int, str]]:
    found = [(lane["generation"], lane["status"]) for lane in await lanes(admin, projection)]
    return list(dict.fromkeys(found))  # a generation has several lanes


async def tables(admin) -> set[str]:
    cursor = await admin.execute("select tablename from pg_tables where schemaname = 'read_models'")
    return {name for (name,) in await cursor.fetchall() if name.startswith(VIEW)}


async def test_a_requested_rebuild_fills_the_next_generation_beside_the_live_one(settings, platform, admin):
    view = slow_view()
    seen: set[tuple[tuple[int, str], ...]] = set()

    async def is_swapped() -> bool:
        seen.add(tuple(await statuses(admin)))
        return await live_generation(admin, VIEW) == 2

    await create_many(platform, 200)
    async with engine_of(settings, [view, OperatorRequests({VIEW: view})]):
        await until_caught_up(admin, [VIEW])
        await request_rebuild(platform)
        await until(is_swapped, "the new generation is live")
    assert ((1, "live"), (2, "building")) in seen
    assert await statuses(admin) == [(1, "retired"), (2, "live")]
    assert len((await stored_tables(admin, view, 2))["entries"]) == 200


async def test_a_worker_does_not_wait_for_its_next_heartbeat_to_begin(
    settings, platform, admin, projector_pool, monkeypatch
):
    monkeypatch.setattr("projections.engine._HEARTBEAT_SECONDS", 300.0)
    monkeypatch.setattr("projections.engine.LEASE_SECONDS", 900.0)
    await create_many(platform, 5)
    async with engine_of(settings, [Counted()]):
        await until_caught_up(admin, [Counted.NAME])
        async with projector_pool.connection() as connection:
            await start_rebuild(connection, Counted())
        await until_live(admin, Counted.NAME, 2)
    assert await counts(admin, Counted.NAME, 2) == {"acme": 5}


async def test_a_reader_sees_no_error_no_gap_and_no_step_back_during_rebuilds(settings, platform, admin):
    view = slow_view()
    first = 100
    await create_many(platform, first)
    read: list[tuple[int, int]] = []
    written = [first]

    async def read_on() -> None:
        while True:
            answer = await platform.queries.ask(ListEntries(limit=200, sort="name"), actors.ANN)
            most = written[0] + 1  # one more may be durable before it is counted
            names = [item.name for item in answer.value.items]
            assert len({item.entry_id for item in answer.value.items}) == len(names)
            assert len(names) <= most
            read.append((answer.position, len(names)))
            assert len(names) >= first
            await asyncio.sleep(0.005)

    async def write_on() -> None:
        for number in range(30):
            await create(platform, f"later {number}")
            written[0] += 1
            await asyncio.sleep(0.05)

    async with AsyncExitStack() as stack:
        await stack.enter_async_context(engine_of(settings, [view]))
        await until_caught_up(admin, [VIEW])
        readers = [await stack.enter_async_context(running(read_on())) for _ in range(2)]
        writer = await stack.enter_async_context(running(write_on()))
        for _ in range(3):
            await rebuild(admin, [view])
        await writer
        await until_caught_up(admin, [VIEW])
        assert not any(reader.done() for reader in readers)
        answer = await platform.queries.ask(ListEntries(limit=200), actors.ANN)
        assert len(answer.value.items) == first + 30
    assert len(read) > 30
    # What each position shows is always the same: rows of two generations, or of half a batch, never mix.
    sizes: dict[int, set[int]] = {}
    for position, size in read:
        sizes.setdefault(position, set()).add(size)
    assert all(size >= position for position, found in sizes.items() for size in found), "rows are no older"


async def test_positions_that_one_reader_sees_never_go_back(settings, platform, admin):
    view = slow_view()
    await create_many(platform, 100)
    found: list[int] = []

    async def read_on() -> None:
        while True:
            answer = await platform.queries.ask(ListEntries(limit=1), actors.ANN)
            found.append(answer.position)
            await asyncio.sleep(0)

    async with engine_of(settings, [view]):
        await until_caught_up(admin, [VIEW])
        async with running(read_on()) as reading:
            for number in range(3):
                await create(platform, f"later {number}")
                await rebuild(admin, [view])
            assert not reading.done()
    assert found == sorted(found)
    assert len(set(found)) > 1


async def test_one_retired_generation_is_kept_and_older_ones_are_dropped(settings, platform, admin):
    async def is_dropped() -> bool:
        return await statuses(admin) == [(3, "retired"), (4, "live")]

    await create_many(platform, 3)
    view = KnowledgeEntryListView()
    async with engine_of(settings, [view]):
        await until_caught_up(admin, [VIEW])
        for _ in range(3):
            await rebuild(admin, [view])
        await until(is_dropped, "the older generations are dropped")
    assert await tables(admin) == {f"{VIEW}_{number}_{table}" for number in (3, 4) for table in view.TABLES}


async def test_a_rebuild_goes_on_after_its_engine_was_restarted(settings, platform, admin):
    await create_many(platform, 300)
    view = slow_view()
    reactor = OperatorRequests({VIEW: view})

    async def is_half_done() -> bool:
        building = [lane for lane in await lanes(admin, VIEW) if lane["status"] == "building"]
        return bool(building) and building[0]["position"] > 50

    async with engine_of(settings, [view, reactor]):
        await until_caught_up(admin, [VIEW])
        await request_rebuild(platform)
        await until(is_half_done, "a part of the log is in the new generation")
    assert await statuses(admin) == [(1, "live"), (2, "building")]
    async with engine_of(settings, [view, reactor]):
        await until_live(admin, VIEW, 2)
    expected = (await expected_tables(settings, admin))[VIEW]
    assert len((await stored_tables(admin, view, 2))["entries"]) == len(expected["entries"]) == 300


async def test_a_rebuild_counts_every_event_once(settings, platform, admin):
    await create_many(platform, 25)
    async with engine_of(settings, [Counted()], window_size=10):
        await until_caught_up(admin, ["counted"])
        await rebuild(admin, [Counted()])
        await create_many(platform, 5)
        await until_caught_up(admin, ["counted"])
    assert await counts(admin, "counted", 2) == {"acme": 30}


async def test_what_is_swapped_in_has_statistics_for_the_planner(settings, platform, admin):
    view = KnowledgeEntryListView()
    await create_many(platform, 20)
    async with engine_of(settings, [view]):
        await until_caught_up(admin, [VIEW])
        await rebuild(admin, [view])
    tables = [table.removeprefix("read_models.") for table in Generation(VIEW, 2).tables(view.TABLES).values()]
    cursor = await admin.execute("select distinct tablename from pg_stats where tablename = any (%s)", (tables,))
    assert {name for (name,) in await cursor.fetchall()} == set(tables)


async def test_a_generation_that_is_live_already_is_not_retired_for_the_next_one(settings, platform, admin):
    # A swap's answer may be lost with its connection, and other lanes of the generation may be late to see it.
    view = KnowledgeEntryListView()
    async with engine_of(settings, [view]):
        await until_caught_up(admin, [VIEW])
        await rebuild(admin, [view])
    await start_rebuild(admin, view)
    await swap_when_caught_up(admin, Generation(VIEW, 2))
    assert await live_generation(admin, VIEW) == 2


async def test_a_second_request_during_a_rebuild_starts_no_other_one(settings, platform, admin):
    await create_many(platform, 200)
    view = slow_view()
    async with engine_of(settings, [view, OperatorRequests({VIEW: view})]):
        await until_caught_up(admin, [VIEW])
        await request_rebuild(platform)
        with pytest.raises(RebuildIsRunning):
            await request_rebuild(platform)
        await until_live(admin, VIEW, 2)
        await until_caught_up(admin, [VIEW, OperatorRequests.NAME])
        assert await live_generation(admin, VIEW) == 2
        assert len(await statuses(admin)) == 2


async def test_what_is_no_read_model_is_not_rebuilt(otto: AsyncClient):
    for name in ("nothing", "document_jobs", "operator_requests"):
        refused = await otto.post(f"/api/v1/admin/projections/{name}/rebuilds")
        require_problem(refused, 404, "projection-not-found")
    no_name = await otto.post("/api/v1/admin/projections/x'; drop table varve.lanes; --/rebuilds")
    require_problem(no_name, 422, "invalid-request")


async def test_only_an_operator_may_ask_for_a_rebuild(ada: AsyncClient):
    require_problem(await ada.post(f"/api/v1/admin/projections/{VIEW}/rebuilds"), 403, "permission-denied")


def test_the_names_that_may_be_rebuilt_are_those_of_the_read_models(settings):
    text_leg, vector_leg = read_models(settings, lambda: None)[-2:]
    assert isinstance(text_leg, SearchTextLeg)
    assert isinstance(vector_leg, SearchVectorLeg)
    built = build_projections(text_leg=text_leg, vector_leg=vector_leg, wake_documents=lambda: None)
    assert {projection.NAME for projection in built if projection.IS_REBUILDABLE} == rebuildable()
    assert len({projection.NAME for projection in built}) == len(built)


async def test_a_rebuild_that_is_given_up_leaves_nothing_and_can_be_begun_again(settings, platform, admin):
    view = slow_view()
    await create_many(platform, 300)

    async def is_gone() -> bool:
        return await statuses(admin) == [(1, "live")]

    async with engine_of(settings, [view, OperatorRequests({VIEW: view})]):
        await until_caught_up(admin, [VIEW])
        await request_rebuild(platform)
        await until_building(admin)
        await send(platform, CancelRebuild(projection=VIEW), actors.OTTO_OPERATES)
        await until(is_gone, "the new generation is dropped")
        await request_rebuild(platform)
        await until_live(admin, VIEW, 3)
    assert len((await stored_tables(admin, view, 3))["entries"]) == 300


async def test_a_rollback_reads_the_generation_before_when_it_has_caught_up(settings, platform, admin):
    view = KnowledgeEntryListView()
    await create_many(platform, 20)
    async with engine_of(settings, [view, OperatorRequests({VIEW: view})]):
        await until_caught_up(admin, [VIEW])
        await request_rebuild(platform)
        await until_live(admin, VIEW, 2)
        await create_many(platform, 20)
        await send(platform, RollBackProjection(projection=VIEW), actors.OTTO_OPERATES)
        await until_live(admin, VIEW, 1)
        assert await statuses(admin) == [(1, "live"), (2, "retired")]
        await until_caught_up(admin, [VIEW])
    assert len((await stored_tables(admin, view, 1))["entries"]) == 40


async def until_building(admin) -> None:
    async def is_building() -> bool:
        return (2, "building") in await statuses(admin)

    await until(is_building, "a generation is being filled")
