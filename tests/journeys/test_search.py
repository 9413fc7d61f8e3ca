"""The search over HTTP: modes, filters, groups, what a hit says, who finds what, and what is refused."""

import hashlib
from typing import Any

import psycopg
import pytest
from httpx import AsyncClient

from eventstore.stream_reader import TenantStreams
from queries.message import Asking
from queries.search.message import Search
from queries.search.search import SearchSettings, search_handler
from tests.api.problem import require_problem
from tests.builders.actors import ANN
from tests.builders.requests import create_entry
from tests.builders.searches import Unnoted
from tests.journeys.requests import NOTE, POSITION, SEARCH, process, search, sources
from varve.bootstrap import Platform, event_types
from workers.embedding.hashing import HashingEmbedder
from workers.text_analyzer import TextAnalyzer

LONG = "# Varves\n\n" + "\n".join(
    f"## Year {year}\n\n{'In summer the stream carries silt into the lake. ' * 40}\n" for year in range(3)
)


@pytest.mark.usefixtures("system")
async def test_filters_hold_together(ann: AsyncClient):
    note = await create_entry(ann, name="Clay of the north", category="geology", tags=["clay"], entity_type="note")
    person = await create_entry(ann, name="Clay collector", category="people", tags=["clay"], entity_type="person")
    document = await process(ann, category="geology", tags=["ice"])
    expected = {
        (): {note.id, person.id, document.id},
        (("kind", "entry"),): {note.id, person.id},
        (("kind", "document"),): {document.id},
        (("tag", "clay"),): {note.id, person.id},
        (("tag", "ice"),): {document.id},
        (("tag", "nothing"),): set(),
        (("category", "geology"),): {note.id, document.id},
        (("entity_type", "person"),): {person.id},
        (("document_id", document.id),): {document.id},
        (("document_id", note.id),): set(),
        (("category", "geology"), ("tag", "clay")): {note.id},
        (("kind", "document"), ("entity_type", "note")): set(),
    }
    for mode in ("hybrid", "text", "vector"):
        for filters, ids in expected.items():
            found = await sources(ann, "clay", document.position, mode=mode, **dict(filters))
            assert set(found) == ids, (mode, filters)


@pytest.mark.usefixtures("system")
async def test_passages_are_folded_to_their_document_on_request(ann: AsyncClient):
    document = await process(ann, LONG)
    single = await sources(ann, "silt in the lake", document.position)
    assert len(single) == document.body["chunk_count"] > 1
    assert await sources(ann, "silt in the lake", document.position, group_by="document") == [document.id]


async def sources_naming_two(platform: Platform, query: Search) -> set[str]:
    """Return whose passages are found when each leg names two at first."""
    ask = search_handler(HashingEmbedder(), TextAnalyzer(), SearchSettings(top=2, candidates=2), Unnoted())
    answer = await ask(query, Asking(ANN, platform.read_models, TenantStreams(platform.reader_pool, event_types())))
    return {str(hit.source_id) for hit in answer.value.hits}


@pytest.mark.usefixtures("system")
async def test_folding_looks_further_when_the_best_passages_are_of_too_few_sources(
    ann: AsyncClient, platform: Platform
):
    document = await process(ann, LONG)
    entries = [await create_entry(ann, name=f"Silt {number}") for number in range(2)]
    await search(ann, "silt", entries[-1].position)
    for mode in ("hybrid", "text", "vector"):
        query = Search(q="In summer the stream carries silt into the lake", mode=mode, group_by="document", limit=3)
        found = await sources_naming_two(platform, query)
        assert found == {document.id, *(entry.id for entry in entries)}, mode


@pytest.mark.usefixtures("system")
async def test_it_looks_further_when_the_vectors_are_of_what_is_gone_from_the_text_leg(
    ann: AsyncClient, platform: Platform, admin: psycopg.AsyncConnection[Any]
):
    gone = [(await create_entry(ann, name="Silt")).id for _ in range(3)]
    left = await create_entry(ann, name="Gravel")
    await search(ann, "silt", left.position)
    for table in ("postings", "chunks"):
        await admin.execute(
            f"delete from read_models.search_text_1_{table} where chunk in "
            "(select chunk from read_models.search_text_1_chunks where source_id = any (%s::uuid[]))",
            (gone,),
        )
    assert await sources_naming_two(platform, Search(q="silt", limit=1)) == {left.id}


@pytest.mark.usefixtures("system")
async def test_a_hit_says_where_it_comes_from(ann: AsyncClient):
    document = await process(ann, category="geology", tags=["clay"])
    found = await search(ann, "clay ice", document.position)
    (hit,) = found["hits"]
    passage = hit["passage"]
    history = (await ann.get(f"{document.url}/history")).json()["items"]
    assert (hit["source_kind"], hit["source_id"], hit["title"]) == ("document", document.id, "Varves")
    assert (hit["owner"], hit["language"], hit["category"], hit["tags"]) == ("ann", "en", "geology", ["clay"])
    assert hit["position"] == history[-1]["position"]
    assert hit["created_at"] == history[0]["recorded_at"]
    assert passage["end"] - passage["start"] == len(passage["text"])
    assert passage["heading_path"] == ["Varves"]
    assert "Fine clay settles" in passage["text"]
    assert len(bytes.fromhex(passage["content_hash"])) == hashlib.sha256().digest_size
    assert hit["scores"]["text"] > 0
    assert 0 < hit["scores"]["vector"] <= 1
    assert found["model"] == "hashing@1"
    assert found["generations"] == {"text": 1, "vector": 1}
    assert set(found["positions"].values()) == {document.position}


@pytest.mark.usefixtures("system")
async def test_each_mode_scores_by_its_own_leg(ann: AsyncClient):
    document = await process(ann)
    scores = {
        mode: (await search(ann, "clay", document.position, mode=mode))["hits"][0]["scores"]
        for mode in ("hybrid", "text", "vector")
    }
    assert scores["text"] == {"text": scores["hybrid"]["text"], "vector": None}
    assert scores["vector"] == {"text": None, "vector": scores["hybrid"]["vector"]}


@pytest.mark.parametrize("q", ["settling clays", "冰川 under the ICE", "layered"])
@pytest.mark.usefixtures("system")
async def test_highlights_mark_exactly_the_terms_of_the_question(ann: AsyncClient, q):
    document = await process(ann, NOTE + "\n冰川融化。\n")
    (hit,) = (await search(ann, q, document.position))["hits"]
    highlight = hit["passage"]["highlight"]
    analyzer = TextAnalyzer()
    asked = set(analyzer.terms(q))
    assert highlight["text"] in hit["passage"]["text"]
    marked = [highlight["text"][start:end] for start, end in highlight["spans"]]
    assert marked
    for text in marked:
        assert set(analyzer.terms(text)) & asked, text
    found = {term for text in marked for term in analyzer.terms(text)} & asked
    assert found == asked & set(analyzer.terms(hit["passage"]["text"]))


@pytest.mark.usefixtures("system")
async def test_private_sources_are_found_by_their_owner_and_by_administrators(
    ann: AsyncClient, ben: AsyncClient, ada: AsyncClient, eve: AsyncClient
):
    entry = await create_entry(ann, name="Private clay", visibility="private")
    document = await process(ann, visibility="private")
    both = {entry.id, document.id}
    for mode in ("hybrid", "text", "vector"):
        for client, ids in ((ann, both), (ada, both), (ben, set()), (eve, set())):
            assert set(await sources(client, "clay", document.position, mode=mode)) == ids, mode


@pytest.mark.usefixtures("system")
async def test_an_entry_that_becomes_private_is_no_longer_found_by_others(ann: AsyncClient, ben: AsyncClient):
    entry = await create_entry(ann, name="Clay")
    assert await sources(ben, "clay", entry.position) == [entry.id]
    changed = await ann.patch(entry.url, json={"visibility": "private"})
    assert await sources(ben, "clay", changed.headers[POSITION]) == []
    assert await sources(ann, "clay", changed.headers[POSITION]) == [entry.id]


@pytest.mark.usefixtures("system")
async def test_a_changed_entry_is_found_by_its_new_words_only_and_a_restored_one_again(ann: AsyncClient):
    entry = await create_entry(ann, name="Clay")
    changed = await ann.patch(entry.url, json={"name": "Granite"})
    position = changed.headers[POSITION]
    assert await sources(ann, "clay", position, mode="text") == []
    assert await sources(ann, "granite", position, mode="text") == [entry.id]
    deleted = await ann.delete(entry.url)
    assert await sources(ann, "granite", deleted.headers[POSITION]) == []
    restored = await ann.post(f"{entry.url}/restore")
    assert await sources(ann, "granite", restored.headers[POSITION]) == [entry.id]


INVALID = [
    {},
    {"q": ""},
    {"q": "a\x00b"},
    {"q": "x" * 1001},
    {"q": "clay", "limit": "0"},
    {"q": "clay", "limit": "101"},
    {"q": "clay", "limit": "ten"},
    {"q": "clay", "mode": "magic"},
    {"q": "clay", "kind": "task"},
    {"q": "clay", "group_by": "owner"},
    {"q": "clay", "document_id": "1"},
    {"q": "clay", "tag": "a\x00b"},
    {"q": "clay", "unknown": "1"},
]


async def test_a_question_that_is_not_valid_is_refused(ann: AsyncClient):
    for parameters in INVALID:
        require_problem(await ann.get(SEARCH, params=parameters), 422, "invalid-request")


@pytest.mark.usefixtures("system")
async def test_any_other_question_has_an_answer(ann: AsyncClient):
    entry = await create_entry(ann, name="Clay")
    for q in ("the", "!!!", "  ", "' or 1=1 --", "%_\\", "clay" * 200, "😀"):
        for mode in ("hybrid", "text", "vector"):
            found = await search(ann, q, entry.position, mode=mode)
            assert (found["degraded"], found["mode"]) == ([], mode), q


@pytest.mark.usefixtures("system")
async def test_no_more_hits_are_shown_than_asked_for(ann: AsyncClient):
    entries = [await create_entry(ann, name=f"Clay {number}") for number in range(12)]
    position = entries[-1].position
    assert len(await sources(ann, "clay", position)) == 10
    assert len(await sources(ann, "clay", position, limit=3)) == 3
    assert len(await sources(ann, "clay", position, limit=100)) == 12


class TestMiniLm:
    @pytest.fixture
    def setting_overrides(self):
        return {"wait_seconds": 30.0, "embedder": "minilm"}

    @pytest.mark.usefixtures("system")
    async def test_a_question_in_other_words_finds_the_document_by_its_meaning(self, ann: AsyncClient):
        await create_entry(ann, name="Invoices", description="The supplier is paid within thirty days.")
        await create_entry(ann, name="Recipes", description="Bake the bread for an hour.")
        document = await process(ann)
        found = await search(ann, "sediment below a frozen pond", document.position, mode="vector")
        assert found["hits"][0]["source_id"] == document.id
        assert found["model"].startswith("all-MiniLM-L6-v2@")
