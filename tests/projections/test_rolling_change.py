"""Workers of two versions of a projection's code run side by side: the newer one is built, and stays."""

import asyncio
from collections.abc import Sequence
from typing import Any, ClassVar
from uuid import UUID

from commands.knowledge.link_entries import LinkKnowledgeEntries
from commands.operations.projections import RebuildProjection, RollBackProjection
from domain.knowledge.entry import Link
from domain.knowledge.events import KnowledgeEntryLinked
from eventstore.mapper import EventTypes
from eventstore.records import RecordedEvent
from projections.definition import Connection, Generation
from projections.knowledge.entry_list import KnowledgeEntryListView
from projections.operations.operator_requests import OperatorRequests
from projections.succession import Turn, turns_of
from tests.builders import actors
from tests.fixtures.engine import running
from tests.projections.counting import Counted, Listed, logged_positions, positions
from tests.projections.engines import engine_of, live_generation, until, until_caught_up, until_live
from tests.projections.sending import create, create_many, send
from tests.projections.views import read_models
from varve.bootstrap import event_types

NAME = "changed"
VIEW = KnowledgeEntryListView.NAME
OLD_CODE = EventTypes(*(event for event in event_types() if event is not KnowledgeEntryLinked))


class First(Listed):
    NAME: ClassVar[str] = NAME


class Second(First):
    """Keeps the newest position beside the list, in a table of another name; may be told to wait."""

    VERSION: ClassVar[int] = 2
    TABLES: ClassVar[tuple[str, ...]] = ("lists", "newest")
    DDL: ClassVar[str] = First.DDL + "; create table {newest} (tenant text primary key, position bigint not null)"

    def __init__(self) -> None:
        self.may_go_on = asyncio.Event()
        self.may_go_on.set()

    async def apply(
        self, connection: Connection, generation: Generation, events: Sequence[RecordedEvent], prepared: Any
    ) -> None:
        await self.may_go_on.wait()
        await super().apply(connection, generation, events, prepared)
        await connection.cursor().executemany(
            f"insert into {generation.table('newest')} values (%s, %s) "
            "on conflict (tenant) do update set position = excluded.position",
            [(event.tenant, event.position) for event in events],
        )


class Third(Counted):
    NAME: ClassVar[str] = NAME
    VERSION: ClassVar[int] = 3


class OtherSettings(First):
    """As another embedding model makes one: nothing says which of the two is the newer."""

    def definition(self) -> str:
        return f"{super().definition()} another model"


class NextView(KnowledgeEntryListView):
    VERSION: ClassVar[int] = KnowledgeEntryListView.VERSION + 1


async def until_here(admin, owner: str) -> None:
    """Wait until a worker has looked whether it is the turn of its definitions."""

    async def is_here() -> bool:
        cursor = await admin.execute("select from varve.workers where owner = %s", (owner,))
        return cursor.rowcount == 1

    await until(is_here, f"{owner} shares lanes")


async def generations(admin, projection: str = NAME) -> list[tuple[int, str]]:
    cursor = await admin.execute(
        "select generation, status from varve.generations where projection = %s order by 1", (projection,)
    )
    return await cursor.fetchall()


async def until_generations(admin, wanted: list[tuple[int, str]], projection: str = NAME) -> None:
    async def are_so() -> bool:
        return await generations(admin, projection) == wanted

    await until(are_so, f"the generations are {wanted}")


async def parked(admin) -> int:
    (count,) = await (await admin.execute("select count(*) from varve.parked")).fetchone()
    return count


async def test_the_older_generation_is_run_and_read_until_the_newer_one_has_caught_up(settings, platform, admin):
    newer = Second()
    newer.may_go_on.clear()
    await create_many(platform, 10)
    async with engine_of(settings, [First()]):
        await until_caught_up(admin, [NAME])
        async with engine_of(settings, [newer]):
            await until_generations(admin, [(1, "live"), (2, "building")])
            await create_many(platform, 10)
            await until_caught_up(admin, [NAME])
            assert await positions(admin, NAME, 1) == await logged_positions(admin)
            assert await live_generation(admin, NAME) == 1
            newer.may_go_on.set()
            await until_live(admin, NAME, 2)
            await create_many(platform, 10)
            await until_caught_up(admin, [NAME])
    assert await positions(admin, NAME, 2) == await logged_positions(admin)


async def test_a_change_with_a_new_event_type_loses_and_parks_nothing_while_both_codes_run(settings, platform, admin):
    one, two = await create(platform), await create(platform)

    async def link(source: UUID, target: UUID, relation: str) -> None:
        await send(platform, LinkKnowledgeEntries(entry_id=source, link=Link(target_id=target, relation=relation)))

    async def write_on() -> None:
        for number in range(40):
            await link(one, two, f"r{number}")
            await create_many(platform, 3, [actors.ANN, actors.EVE][number % 2])
            await asyncio.sleep(0.02)

    async with engine_of(settings, [First()], known=OLD_CODE):
        await until_caught_up(admin, [NAME])
        async with running(write_on()) as writing, engine_of(settings, [Second()]):
            await until_live(admin, NAME, 2)
            async with engine_of(settings, [First()], known=OLD_CODE) as restarted:
                await until_here(admin, restarted)
            await writing
            await until_caught_up(admin, [NAME])
            assert await generations(admin) == [(1, "retired"), (2, "live")]
    expected = await logged_positions(admin)
    assert await positions(admin, NAME, 2) == expected
    newest = await (await admin.execute(f"select tenant, position from read_models.{NAME}_2_newest")).fetchall()
    assert dict(newest) == {tenant: found[-1] for tenant, found in expected.items()}
    assert await parked(admin) == 0


async def test_an_older_worker_that_starts_after_the_swap_builds_nothing(settings, platform, admin):
    await create_many(platform, 10)
    async with engine_of(settings, [First()]):
        await until_caught_up(admin, [NAME])
        async with engine_of(settings, [Second()]):
            await until_live(admin, NAME, 2)
            async with engine_of(settings, [First()]) as older:
                await until_here(admin, older)
                await create_many(platform, 10)
                await until_caught_up(admin, [NAME])
                assert await generations(admin) == [(1, "retired"), (2, "live")]


async def test_older_code_builds_again_when_nobody_is_left_who_knows_the_newer(settings, platform, admin):
    await create_many(platform, 10)
    async with engine_of(settings, [Second()]):
        await until_caught_up(admin, [NAME])
    async with engine_of(settings, [First()]):
        await until_live(admin, NAME, 2)
        await until_caught_up(admin, [NAME])
    assert await positions(admin, NAME, 2) == await logged_positions(admin)


async def test_other_settings_are_built_when_nobody_is_left_who_has_the_ones_before(settings, platform, admin):
    await create_many(platform, 10)
    async with engine_of(settings, [OtherSettings()]):
        await until_caught_up(admin, [NAME])
        async with engine_of(settings, [First()]) as waiting:
            await until_here(admin, waiting)
            assert await generations(admin) == [(1, "live")]
            async with engine_of(settings, [OtherSettings()]) as restarted:
                await until_here(admin, restarted)
                assert await generations(admin) == [(1, "live")]
    async with engine_of(settings, [First()]):
        await until_live(admin, NAME, 2)


async def test_a_worker_that_died_keeps_other_settings_waiting_for_some_seconds(settings, admin):
    async def is_next() -> bool:
        return await turns_of(admin, [First()]) == {NAME: Turn.NEXT}

    async with engine_of(settings, [OtherSettings()]):
        await until_live(admin, NAME, 1)
    known = [f"{NAME} {OtherSettings().definition()}"]
    await admin.execute("insert into varve.workers values ('killed', %s, clock_timestamp())", (known,))
    assert await turns_of(admin, [First()]) == {NAME: Turn.WAITING}
    await admin.execute("update varve.workers set seen_at = clock_timestamp() - interval '11 seconds'")
    await until(is_next, "it is the other's turn")


async def test_what_older_code_was_filling_gives_way_to_newer_code(settings, platform, admin):
    await create_many(platform, 10)
    stuck = Second()
    async with engine_of(settings, [First()]):
        await until_caught_up(admin, [NAME])
        stuck.may_go_on.clear()
        async with engine_of(settings, [stuck]):
            await until_generations(admin, [(1, "live"), (2, "building")])
        async with engine_of(settings, [Third()]):
            await until_generations(admin, [(1, "retired"), (3, "live")])


async def test_newer_code_drops_the_tables_that_only_older_code_had(settings, platform, admin):
    async def tables() -> set[str]:
        cursor = await admin.execute("select tablename from pg_tables where starts_with(tablename, %s)", (f"{NAME}_",))
        return {name for (name,) in await cursor.fetchall()}

    await create_many(platform, 10)
    for projection, number in ((First(), 1), (Second(), 2), (Third(), 3)):
        async with engine_of(settings, [projection]):
            await until_live(admin, NAME, number)
            if number == 3:
                await until_generations(admin, [(2, "retired"), (3, "live")])
    assert await tables() == {f"{NAME}_2_lists", f"{NAME}_2_newest", f"{NAME}_3_counts"}


async def test_a_way_back_to_older_code_is_not_undone_by_newer_workers(settings, platform, admin):
    older, newer = KnowledgeEntryListView(), NextView()
    await create_many(platform, 10)
    async with engine_of(settings, [older]):
        await until_caught_up(admin, [VIEW])
        async with engine_of(settings, [newer, OperatorRequests({VIEW: newer})]):
            await until_live(admin, VIEW, 2)
            await send(platform, RollBackProjection(projection=VIEW), actors.OTTO_OPERATES)
            await until_live(admin, VIEW, 1)
            async with engine_of(settings, [newer]) as restarted:
                await until_here(admin, restarted)
                await create_many(platform, 10)
                await until_caught_up(admin, [VIEW])
                assert await generations(admin, VIEW) == [(1, "live"), (2, "retired")]


async def test_what_is_asked_to_be_rebuilt_during_a_change_is_rebuilt_by_the_newest_code(settings, platform, admin):
    older = {projection.NAME: projection for projection in read_models(settings, lambda: None)}
    newer = older | {VIEW: NextView()}
    await create_many(platform, 10)
    async with engine_of(settings, [older[VIEW], OperatorRequests(older)]):
        await until_caught_up(admin, [VIEW, OperatorRequests.NAME])
        async with engine_of(settings, [newer[VIEW], OperatorRequests(newer)]):
            await until_live(admin, VIEW, 2)
            await send(platform, RebuildProjection(projection=VIEW), actors.OTTO_OPERATES)
            await until_live(admin, VIEW, 3)
    cursor = await admin.execute(
        "select definition from varve.generations where status = 'live' and projection = %s", (VIEW,)
    )
    assert await cursor.fetchall() == [(newer[VIEW].definition(),)]
