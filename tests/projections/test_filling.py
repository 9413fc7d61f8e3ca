"""A rebuild folds the log in memory and writes the rows at once: the same rows, whatever happens meanwhile."""

import pytest

from projections.definition import Projection
from projections.generations import start_rebuild
from projections.knowledge.entry_list import KnowledgeEntryListView
from projections.search.vector_leg import SearchVectorLeg
from tests.projections.comparing import stored_tables
from tests.projections.engines import engine_of, lanes, until, until_caught_up, until_live
from tests.projections.history import History
from tests.projections.spec import assert_same
from tests.projections.views import read_models


class Interruption(Exception):
    """A crash at a named point."""


async def rebuild(settings, projector_pool, admin, projection: Projection, **options) -> None:
    """Rebuild `projection` beside what is live."""
    before = max(each["generation"] for each in await lanes(admin, projection.NAME))
    async with projector_pool.connection() as connection:
        await start_rebuild(connection, projection)
    async with engine_of(settings, [projection], **options):
        await until_live(admin, projection.NAME, before + 1)


@pytest.fixture
async def history(settings, platform, admin):
    """What several users did in two tenants, and the live rows of it."""
    await History(platform, seed=17).write(120)
    async with engine_of(settings, [KnowledgeEntryListView()]):
        await until_caught_up(admin, [KnowledgeEntryListView.NAME])


async def assert_rebuilt(admin) -> None:
    live, rebuilt = [await stored_tables(admin, KnowledgeEntryListView(), generation) for generation in (1, 2)]
    assert_same(rebuilt, live)
    assert all(live.values())


async def test_what_memory_may_not_hold_is_left_to_batches(settings, history, projector_pool, admin, monkeypatch):
    monkeypatch.setattr("projections.filling.MOST_OCTETS", 1)
    monkeypatch.setattr("projections.shared_log._BULK_WINDOW", 7)
    await rebuild(settings, projector_pool, admin, KnowledgeEntryListView())
    await assert_rebuilt(admin)


async def test_what_is_overwritten_is_not_even_decoded(settings, history, projector_pool, admin, monkeypatch):
    monkeypatch.setattr("projections.shared_log._BULK_WINDOW", 7)
    folded: list[tuple[str, int]] = []

    class Told(KnowledgeEntryListView):
        def step(self, row, recorded):
            folded.append((type(recorded.event).__name__, recorded.position))
            return super().step(row, recorded)

    await rebuild(settings, projector_pool, admin, Told())
    await assert_rebuilt(admin)
    cursor = await admin.execute("select count(*) from varve.events where topic like 'knowledge.KnowledgeEntryUpdated'")
    (updates,) = await cursor.fetchone()
    assert 0 < len([name for name, _ in folded if name == "KnowledgeEntryUpdated"]) < updates
    assert len(set(folded)) == len(folded)


async def test_one_that_dies_before_its_rows_are_committed_begins_anew(settings, history, projector_pool, admin):
    deaths = []

    def die(step: str) -> None:
        if step == "rows_written" and len(deaths) < 2:
            deaths.append(step)
            raise Interruption

    await rebuild(settings, projector_pool, admin, KnowledgeEntryListView(), on_step=die)
    assert len(deaths) == 2
    await assert_rebuilt(admin)


async def test_an_event_that_fails_is_left_to_batches_which_park_it(settings, history, projector_pool, admin):
    bad: list[str] = []

    class Choosy(KnowledgeEntryListView):
        def step(self, row, recorded):
            if recorded.stream in bad:
                raise ValueError("cannot apply this")
            return super().step(row, recorded)

    cursor = await admin.execute("select stream from varve.events where stream like 'entry-%' limit 1")
    bad += [stream for (stream,) in await cursor.fetchall()]
    async with projector_pool.connection() as connection:
        await start_rebuild(connection, Choosy())
    async with engine_of(settings, [Choosy()]):

        async def is_filled() -> bool:
            building = [each for each in await lanes(admin, Choosy.NAME) if each["status"] == "building"]
            (head,) = await (await admin.execute("select varve.head()")).fetchone()
            return bool(building) and all(each["position"] == head for each in building)

        await until(is_filled, "the rebuild has caught up")
    cursor = await admin.execute("select distinct partition from varve.parked")
    assert [partition.rpartition("/")[2] for (partition,) in await cursor.fetchall()] == bad
    live, building = [
        {str(row["entry_id"]) for row in (await stored_tables(admin, Choosy(), generation))["entries"]}
        for generation in (1, 2)
    ]
    assert live - building == {bad[0].removeprefix("entry-")}
    assert building < live


async def test_the_indexes_are_there_when_it_is_read(settings, history, projector_pool, admin):
    async def indexes(generation: int) -> list[str]:
        cursor = await admin.execute(
            "select indexdef from pg_indexes where tablename = any (%s) order by 1",
            ([f"knowledge_entry_list_{generation}_{table}" for table in KnowledgeEntryListView.TABLES],),
        )
        return [definition.replace(f"_{generation}_", "_n_") for (definition,) in await cursor.fetchall()]

    await rebuild(settings, projector_pool, admin, KnowledgeEntryListView())
    assert await indexes(2) == await indexes(1)
    assert len(await indexes(2)) > len(KnowledgeEntryListView.TABLES)


async def test_the_graph_of_vectors_is_made_when_they_are_there(settings, projector_pool, admin, document_work):
    vectors = next(each for each in read_models(settings, document_work.wake) if each.NAME == SearchVectorLeg.NAME)

    async def has_graph() -> bool:
        cursor = await admin.execute(
            "select from pg_indexes where tablename = 'search_vector_2_vectors' and indexdef ilike '%using hnsw%'"
        )
        return bool(cursor.rowcount)

    async with projector_pool.connection() as connection:
        await start_rebuild(connection, vectors)
    assert not await has_graph()
    async with engine_of(settings, [vectors]):
        await until_live(admin, vectors.NAME, 2)
    assert await has_graph()
