"""The SQL of the vector leg."""

from collections.abc import Mapping
from uuid import UUID

import numpy as np
import pytest

from domain.shared.access import Actor, Role
from tests.reads.search.index import Passage, SearchIndex

ANN = Actor(tenant="acme", user="ann", roles=frozenset({Role.READER}))
BOB = Actor(tenant="acme", user="bob", roles=frozenset({Role.READER}))
STRANGER = Actor(tenant="other", user="ann", roles=frozenset({Role.ADMIN}))
_EXACT = {"exact_below": 5_000, "step_cost": 20}
_GRAPH = {"exact_below": 0, "step_cost": 0}


def direction(*leading: float) -> list[float]:
    vector = np.zeros(384)
    vector[: len(leading)] = leading
    return [float(value) for value in vector / np.linalg.norm(vector)]


QUESTION = str(direction(1))


def stored(index: SearchIndex, passages: list[Passage], vectors: list[list[float]]) -> SearchIndex:
    index.cache_vectors(passages, vectors)
    index.replace(passages, sources=[])
    return index


def found(index: SearchIndex, way: Mapping[str, int], actor: Actor, **parameters: object) -> list[int]:
    rows = index.ask("vector_search", actor, embedding=QUESTION, **{"top": 100, **way, **parameters})
    return [row["chunk"] >> 20 for row in rows]


@pytest.mark.parametrize("way", [_EXACT, _GRAPH], ids=["exact", "graph"])
def test_the_nearest_chunks_come_first_with_their_cosine(index, way):
    passages = [Passage(position=n, source=UUID(int=n), content=f"text {n}") for n in (1, 2, 3)]
    stored(index, passages, [direction(0, 1), direction(1, 1), direction(1)])

    rows = index.ask("vector_search", ANN, embedding=QUESTION, top=2, **way)

    assert [(row["chunk"] >> 20, row["source_kind"], row["source_id"]) for row in rows] == [
        (3, "entry", UUID(int=3)), (2, "entry", UUID(int=2)),
    ]  # fmt: skip
    assert [row["cosine"] for row in rows] == pytest.approx([1.0, 0.5**0.5], abs=1e-6)


@pytest.mark.parametrize("way", [_EXACT, _GRAPH], ids=["exact", "graph"])
def test_private_chunks_and_other_tenants_are_not_found(index, way):
    stored(
        index,
        [
            Passage(position=1, source=UUID(int=1), content="private", visibility="private"),
            Passage(position=2, source=UUID(int=2), content="shared"),
        ],
        [direction(1), direction(1, 1)],
    )

    assert [found(index, way, actor) for actor in (ANN, BOB, STRANGER)] == [[1, 2], [2], []]


@pytest.mark.parametrize("way", [_EXACT, _GRAPH], ids=["exact", "graph"])
def test_a_filter_leaves_only_what_matches(index, way):
    stored(
        index,
        [
            Passage(position=1, source=UUID(int=1), content="one", tags=("urgent",)),
            Passage(position=2, source=UUID(int=2), content="two", source_kind="document"),
        ],
        [direction(1), direction(1, 1)],
    )

    assert found(index, way, ANN, tag="urgent") == [1]
    assert found(index, way, ANN, kind="document") == [2]


def test_where_the_graph_gives_up_before_it_has_named_enough_every_vector_is_compared(index):
    passages = [
        Passage(position=n, source=UUID(int=n), content=f"text {n}", tags=("far",) * (n > 290)) for n in range(1, 301)
    ]
    draw = np.random.default_rng(5).normal(size=(300, 384), scale=0.01)
    stored(index, passages, [direction(1 - 2 * (n > 290), *noise[:200]) for n, noise in enumerate(draw, start=1)])

    assert set(found(index, _GRAPH, ANN, tag="far", top=10)) == set(range(291, 301))


def test_a_chunk_shows_what_was_stored_without_the_text_leg(index):
    passage = Passage(position=7, source=UUID(int=1), ordinal=3, title="Noise", content="of jets", tags=("a b", '"'))
    (row,) = stored(index, [passage], [direction(1)]).show(passage, "vector", ANN)

    assert (row["title"], row["content"], row["tags"], row["heading_path"]) == (
        "Noise", "of jets", ["a b", '"'], ["Part", "one, two"],
    )  # fmt: skip
    assert (row["event_position"], row["ordinal"], row["content_hash"]) == (7, 3, passage.content_hash)


def test_a_chunk_that_is_not_embedded_yet_is_not_added(index):
    embedded, waiting = (Passage(position=n, source=UUID(int=n), content=f"text {n}") for n in (1, 2))
    index.cache_vectors([embedded], [direction(1)])

    index.replace([embedded, waiting], sources=[])

    assert [row["chunk"] for row in index.rows("vectors")] == [embedded.chunk]
    assert [row["chunks"] for row in index.rows("vector_stats")] == [1]


def test_a_removed_source_leaves_no_row_in_any_table(index):
    source = UUID(int=1)
    stored(index, [Passage(position=1, source=source, content="one", tags=("urgent",))], [direction(1)])

    index.replace([], sources=[("acme", source)])

    assert [index.rows(table) for table in ("vectors", "vector_tags", "vector_stats")] == [[]] * 3


def test_the_graph_finds_what_comparing_all_vectors_finds(index):
    draw = np.random.default_rng(7)
    passages = [Passage(position=n, source=UUID(int=n), content=f"text {n}") for n in range(1, 801)]
    vectors = draw.normal(size=(800, 384)) + 2 * draw.normal(size=(20, 384))[draw.integers(0, 20, 800)]
    stored(index, passages, [list(map(float, vector / np.linalg.norm(vector))) for vector in vectors])
    question = str(list(map(float, vectors[0] / np.linalg.norm(vectors[0]))))

    exact, graph = (
        [row["chunk"] for row in index.ask("vector_search", ANN, embedding=question, top=10, **way)]
        for way in (_EXACT, _GRAPH)
    )

    assert len(set(exact) & set(graph)) >= 9


def test_the_reader_s_plan_for_large_tenants_reads_the_graph(index):
    passages = [Passage(position=n, source=UUID(int=n), content=f"text {n}") for n in range(1, 401)]
    draw = np.random.default_rng(3).normal(size=(400, 384))
    stored(index, passages, [list(map(float, vector)) for vector in draw])

    for way, is_graph_read in ((_GRAPH, True), (_EXACT, False)):
        plan = index.plan("vector_search", ANN, embedding=QUESTION, top=10, **way)
        (scan,) = (line for line in plan if "search_1_vectors_embedding_idx" in line)
        assert ("never executed" not in scan) == is_graph_read
