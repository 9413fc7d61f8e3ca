"""Live rows, rebuilt rows and an independent model agree after a long history; three wrong folds are noticed."""

import pytest

from tests.projections.comparing import (
    disagreements,
    least_cosine,
    log_events,
    rebuild,
    search_model,
    stored_tables,
)
from tests.projections.engines import engine_of, live_generation, until_caught_up
from tests.projections.history import History
from tests.projections.sending import create
from tests.projections.views import (
    Mutation,
    dropping_every_50th_event,
    ignoring_deletions,
    read_models,
    using_the_clock,
)
from varve.bootstrap import embedder

SEED = 20260301


async def test_live_and_rebuilt_rows_equal_an_independent_model(settings, platform, admin, embedding):
    projections = read_models(settings, embedding.wake)
    async with engine_of(settings, projections, window_size=37):
        await History(platform, SEED).write(160)
        await until_caught_up(admin, [projection.NAME for projection in projections])
        events = await log_events(admin)
        assert len({event.name for event in events}) == 12, "the history has every kind of event"
        assert len(events) > 150
        assert await disagreements(settings, admin, projections) == set()


@pytest.mark.parametrize("mutation", [dropping_every_50th_event, ignoring_deletions, using_the_clock])
async def test_the_same_check_fails_for_each_fold_that_is_wrong(
    settings, platform, admin, embedding, mutation: Mutation
):
    projections = read_models(settings, embedding.wake, mutation)
    async with engine_of(settings, projections):
        history = History(platform, SEED)
        await history.write(100)
        await history.write_until_each_begins_at(50)
        unlike = await disagreements(settings, admin, projections)
    assert {table.partition(".")[0] for table in unlike} == {projection.NAME for projection in projections}


async def test_a_rebuild_asks_the_embedder_for_nothing_that_is_cached(settings, platform, admin, embedding):
    projections = read_models(settings, embedding.wake)
    async with engine_of(settings, projections):
        await History(platform, SEED).write(20)
        await until_caught_up(admin, ["search_vector"])
        mark = str([1.0] + [0.0] * 383)  # a new computation would undo it
        await admin.execute("update varve.embeddings set embedding = %s::vector", (mark,))
        await rebuild(admin, projections[-1:])
        rebuilt = await stored_tables(admin, projections[-1], 2)
    assert {row["embedding"] for row in rebuilt["vectors"]} == {mark.replace(" ", "").replace(".0", "")}


@pytest.mark.parametrize("setting_overrides", [{"embedder": "hashing"}, {"embedder": "minilm"}], ids=str)
async def test_vectors_computed_anew_are_the_same(settings, platform, admin, embedding):
    projections = read_models(settings, embedding.wake)
    async with engine_of(settings, projections):
        for name in ("A yearly layer of clay", "The glacier retreats", "冰川 melts in spring"):
            await create(platform, name)
        await until_caught_up(admin, ["search_vector"])
        await admin.execute("delete from varve.embeddings")
        await rebuild(admin, projections[-1:])
        rebuilt = await stored_tables(admin, projections[-1], await live_generation(admin, "search_vector"))
        texts = (await search_model(settings, await log_events(admin))).embedded_texts()
        assert len(texts) == 3
        assert await least_cosine(rebuilt, texts, embedder(settings)) >= 0.9999
        (cached,) = await (await admin.execute("select count(*) from varve.embeddings")).fetchone()
        assert cached == 3
