"""The search when a leg is away or behind: the other leg answers, and the answer says so."""

import pytest
from httpx import AsyncClient

from tests.api.problem import require_problem
from tests.builders.requests import create_entry
from tests.journeys.requests import SEARCH, search, sources
from workers.embedding.hashing import HashingEmbedder


@pytest.fixture
def setting_overrides():
    return {"wait_seconds": 5.0}


async def away(self, texts):
    raise ConnectionError("the embedder is away")


@pytest.fixture
def embedder_away(monkeypatch):
    monkeypatch.setattr(HashingEmbedder, "embed", away)


async def drop_leg(admin, name):
    """Leave a leg without an index, as before its first worker has run."""
    await admin.execute("delete from varve.generations where projection = %s", (name,))


@pytest.mark.usefixtures("engine", "embedder_away")
async def test_text_answers_while_the_embedder_is_away(ann: AsyncClient, await_projections):
    entry = await create_entry(ann, name="Clay")
    await await_projections("search_text")
    found = await search(ann, "clay")
    assert [hit["source_id"] for hit in found["hits"]] == [entry.id]
    assert found["degraded"] == ["vector"]
    assert set(found["positions"]) == {"text"}
    assert (await search(ann, "clay", mode="text"))["degraded"] == []


@pytest.mark.usefixtures("engine", "embedder_away")
async def test_the_vector_mode_alone_has_no_answer_then(ann: AsyncClient):
    refused = await ann.get(SEARCH, params={"q": "clay", "mode": "vector"})
    require_problem(refused, 503, "store-unavailable")


@pytest.mark.usefixtures("system")
async def test_vectors_answer_and_show_the_passages_while_the_text_index_is_away(ann: AsyncClient, admin):
    entry = await create_entry(ann, name="Clay", description="A yearly layer.", tags=["ice"])
    both = await search(ann, "clay", entry.position)
    await drop_leg(admin, "search_text")
    found = await search(ann, "clay", limit=9)  # what is kept of the same question is still good
    assert found["degraded"] == ["text"]
    assert set(found["positions"]) == set(found["generations"]) == {"vector"}
    (hit,), (hit_of_both,) = found["hits"], both["hits"]
    for field in ("source_id", "title", "passage", "tags", "owner", "created_at", "position"):
        assert hit[field] == hit_of_both[field], field
    assert hit["scores"] == {"text": None, "vector": hit_of_both["scores"]["vector"]}


@pytest.mark.usefixtures("system")
async def test_text_answers_while_the_first_vectors_are_being_built(ann: AsyncClient, admin, await_projections):
    entry = await create_entry(ann, name="Clay")
    await await_projections("search_text")
    await drop_leg(admin, "search_vector")
    found = await search(ann, "clay")
    assert [hit["source_id"] for hit in found["hits"]] == [entry.id]
    assert found["degraded"] == ["vector"]


@pytest.mark.usefixtures("system")
async def test_text_answers_while_the_vectors_of_another_model_are_being_built(
    ann: AsyncClient, admin, await_projections
):
    entry = await create_entry(ann, name="Clay")
    await await_projections("search_text", "search_vector")
    await admin.execute(
        "update varve.generations set definition = '0 other@1' where projection = %s", ("search_vector",)
    )
    found = await search(ann, "clay")
    assert [hit["source_id"] for hit in found["hits"]] == [entry.id]
    assert found["degraded"] == ["vector"]
    require_problem(await ann.get(SEARCH, params={"q": "clay", "mode": "vector"}), 503, "store-unavailable")


@pytest.mark.usefixtures("embedder_away")
async def test_without_both_legs_the_search_is_unavailable(ann: AsyncClient, admin):
    await drop_leg(admin, "search_text")
    require_problem(await ann.get(SEARCH, params={"q": "clay"}), 503, "store-unavailable")


@pytest.mark.usefixtures("engine")
async def test_an_answer_says_how_far_a_leg_is_that_lags(ann: AsyncClient, await_projections):
    # No document worker runs, so that nothing is embedded.
    first = await create_entry(ann, name="Clay")
    await await_projections("search_text")
    found = await search(ann, "clay")
    assert [hit["source_id"] for hit in found["hits"]] == [first.id]
    assert found["positions"]["text"] == first.position
    assert int(found["positions"]["vector"].rpartition("-")[2]) == 0
    assert found["degraded"] == []


@pytest.mark.usefixtures("engine")
async def test_reading_ones_writes_by_text_waits_for_no_vectors(ann: AsyncClient):
    entry = await create_entry(ann, name="Clay")
    assert await sources(ann, "clay", entry.position, mode="text") == [entry.id]


@pytest.mark.usefixtures("system")
async def test_what_could_not_be_embedded_is_found_by_its_meaning_when_the_embedder_is_back(
    ann: AsyncClient, await_projections, monkeypatch
):
    with monkeypatch.context() as patch:
        patch.setattr(HashingEmbedder, "embed", away)
        entry = await create_entry(ann, name="Clay")
        await await_projections("search_text")
        assert (await search(ann, "clay"))["degraded"] == ["vector"]
    assert await sources(ann, "clay", entry.position, mode="vector") == [entry.id]
