"""The SQL of both legs together."""

from uuid import UUID

import pytest

from domain.shared.access import Actor, Role
from tests.reads.search.index import Passage, SearchIndex
from tests.reads.search.test_vector_leg_sql import QUESTION, direction, stored

ANN = Actor(tenant="acme", user="ann", roles=frozenset({Role.READER}))
STRANGER = Actor(tenant="other", user="ann", roles=frozenset({Role.ADMIN}))
ASKED = {
    "embedding": QUESTION,
    "terms": ["jet"],
    "rare_terms": 8,
    "posting_budget": 10_000,
    "candidates": 300,
    "wanted": 0,
    "exact_below": 5_000,
    "step_cost": 20,
}


def hybrid(
    index: SearchIndex, actor: Actor = ANN, top: int = 100, **parameters: object
) -> dict[int, tuple[object, object]]:
    rows = index.ask("hybrid_search", actor, **ASKED, top=top, **parameters)
    return {row["chunk"] >> 20: (row["text"], row["cosine"]) for row in rows}


@pytest.fixture
def filled(index: SearchIndex) -> SearchIndex:
    contents = ["jet jet", "jet wing and a flow", "wing"]
    passages = [Passage(position=n, source=UUID(int=n), content=each) for n, each in enumerate(contents, start=1)]
    return stored(index, passages, [direction(0, 1), direction(1, 1), direction(1)])


def test_what_one_leg_names_is_scored_by_the_other_one_too(filled):
    both = hybrid(filled)
    assert both.keys() == {1, 2, 3}
    assert [both[number][1] for number in (1, 2, 3)] == pytest.approx([0, 0.5**0.5, 1], abs=1e-6)
    assert both[3][0] is None
    assert hybrid(filled, top=1) == {1: pytest.approx(both[1]), 3: (None, pytest.approx(both[3][1]))}
    assert hybrid(filled, top=2) == {
        number: tuple(None if each is None else pytest.approx(each) for each in scores)
        for number, scores in both.items()
    }


def test_a_chunk_without_a_vector_has_no_cosine(filled):
    filled.replace([Passage(position=9, source=UUID(int=9), content="jet")], sources=[])
    assert hybrid(filled)[9][1] is None


def test_nothing_of_another_tenant_is_found(filled):
    assert hybrid(filled, STRANGER) == {}
