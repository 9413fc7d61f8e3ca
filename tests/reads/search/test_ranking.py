"""The ranking's arithmetic, with values computed by hand, and beside its definition."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from domain.shared.access import Actor, Role
from queries.search.message import GroupBy, Legs
from queries.search.ranking import FusionWeights
from tests.reads.search.index import Passage, SearchIndex
from tests.reads.search.ranking_model import Candidate, Hit, ranked
from tests.reads.search.test_vector_leg_sql import direction, stored

ANN = Actor(tenant="acme", user="ann", roles=frozenset({Role.READER}))
BOTH: Legs = ("text", "vector")
_FIRST, _SECOND, _THIRD = UUID(int=1), UUID(int=2), UUID(int=3)
_MOST = 20


class Ranking:
    """Ranks what legs are said to have found, all of it chunks that are there to be shown."""

    def __init__(self, index: SearchIndex) -> None:
        self.index = index
        passages = [Passage(position=n, source=UUID(int=n), content="jet") for n in range(1, _MOST + 1)]
        self.chunks = [passage.chunk for passage in passages]
        stored(index, passages, [direction(1)] * len(passages))

    def __call__(
        self,
        candidates: Sequence[Candidate],
        legs: Legs = BOTH,
        group_by: GroupBy | None = None,
        *,
        weight: float = 0.5,
        limit: int = _MOST,
    ) -> list[Hit]:
        of_numbers = [each._replace(chunk=self.chunks[each.chunk - 1]) for each in candidates]
        rows = self.index.rank(of_numbers, legs, ANN, group_by, limit=limit, vector_weight=weight)
        assert {row["chunks_ranked"] for row in rows} == {len(candidates)}
        return [_hit(row, self.chunks.index(row["chunk"]) + 1) for row in rows if row["chunk"] is not None]


@pytest.fixture
def rank(index: SearchIndex) -> Ranking:
    return Ranking(index)


def _hit(row: dict[str, Any], chunk: int) -> Hit:
    return Hit(chunk, row["score"], row["text"], row["cosine"])


def entry(chunk: int, source: UUID, text: float | None = None, cosine: float | None = None) -> Candidate:
    return Candidate(chunk=chunk, source_kind="entry", source_id=source, text=text, cosine=cosine)


def test_hybrid_scores_are_the_convex_combination_of_scaled_scores(rank: Ranking):
    hits = rank(
        [entry(1, _FIRST, text=4.0, cosine=0.2), entry(2, _SECOND, text=2.0, cosine=0.6), entry(3, _THIRD, cosine=0.5)],
        weight=0.55,
    )

    assert [(hit.chunk, hit.score) for hit in hits] == [
        (2, pytest.approx(0.45 * 0.5 + 0.55 * 1.0)),
        (1, pytest.approx(0.45 * 1.0 + 0.55 * 0.0)),
        (3, pytest.approx(0.45 * 0.0 + 0.55 * 0.75)),
    ]


def test_a_source_takes_the_best_of_its_chunks_on_each_leg_and_shows_the_best_of_them(rank: Ranking):
    found = [
        entry(1, _FIRST, text=4.0, cosine=0.1),
        entry(2, _FIRST, text=1.0, cosine=0.9),
        entry(3, _SECOND, text=3.0, cosine=0.8),
    ]

    assert rank(found, group_by="document") == [
        (2, 1.0, 4.0, 0.9),
        (3, pytest.approx(0.5 * 0.75 + 0.5 * 0.875), 3.0, 0.8),
    ]


def test_a_chunk_without_a_score_counts_nothing_on_that_leg(rank: Ranking):
    hits = rank([entry(1, _FIRST, text=2.0), entry(2, _SECOND, cosine=0.3)], weight=0.25)

    assert [(hit.chunk, hit.score) for hit in hits] == [(1, 0.75), (2, 0.25)]


def test_a_question_without_known_terms_is_ranked_by_cosine_alone(rank: Ranking):
    hits = rank([entry(1, _FIRST, cosine=0.1), entry(2, _SECOND, cosine=0.4)], weight=0.55)

    assert [(hit.chunk, hit.score) for hit in hits] == [(2, 0.55), (1, 0.0)]


@pytest.mark.parametrize("group_by", [None, "document"])
def test_equal_hits_come_in_the_order_of_the_log(rank: Ranking, group_by):
    found = [entry(9, _FIRST, text=1.0 + 1e-13), entry(4, _SECOND, text=1.0), entry(6, _THIRD, text=1.0)]

    assert [hit.chunk for hit in rank(found, ("text",), group_by)] == [4, 6, 9]


def test_of_equal_passages_of_a_source_the_first_is_shown(rank: Ranking):
    found = [entry(9, _FIRST, text=1.0 + 1e-13), entry(4, _FIRST, text=1.0)]

    assert [hit.chunk for hit in rank(found, ("text",), "document")] == [4]


def test_an_entry_and_a_document_of_the_same_id_are_two_hits(rank: Ranking):
    document = Candidate(chunk=2, source_kind="document", source_id=_FIRST, text=1.0)

    assert [hit.chunk for hit in rank([entry(1, _FIRST, text=2.0), document], ("text",), "document")] == [1, 2]


def test_nothing_found_is_an_empty_ranking(rank: Ranking):
    assert rank([]) == []


def test_passages_are_hits_of_their_own_unless_they_are_folded(rank: Ranking):
    candidates = [entry(1, _FIRST, text=2.0), entry(2, _FIRST, text=3.0)]

    assert [hit.chunk for hit in rank(candidates)] == [2, 1]
    assert [hit.chunk for hit in rank(candidates, group_by="document")] == [2]


def test_what_is_gone_or_no_longer_visible_makes_room_for_the_next(rank: Ranking):
    stranger = Passage(position=2, source=UUID(int=2), content="jet", owner="bob", visibility="private")
    rank.index.replace([stranger], sources=[("acme", UUID(int=1)), ("acme", UUID(int=2))])
    found = [entry(chunk, UUID(int=chunk), text=5.0 - chunk) for chunk in (1, 2, 3, 4)]

    assert [hit.chunk for hit in rank(found, ("text",), limit=1)] == [3]
    assert [hit.chunk for hit in rank(found[:2], ("text",))] == []


def test_a_source_whose_best_passage_is_gone_shows_the_next(rank: Ranking):
    """The vector leg knows an entry as it was before it was changed, until its new passages are embedded."""
    rank.index.replace([], sources=[("acme", UUID(int=1))])
    found = [entry(1, _FIRST, cosine=0.9), entry(2, _FIRST, text=4.0), entry(3, _SECOND, cosine=0.1)]

    assert [hit.chunk for hit in rank(found, group_by="document", weight=0.55)] == [2, 3]


@pytest.mark.parametrize(
    ("question", "weight"),
    [
        ("jet noise", 0.55),
        ("噪声", 0.15),
        ("what is 噪声", 0.15),
        ("ノイズ", 0.15),
        ("소음", 0.15),
        ("𠀀", 0.15),
        ("шум", 0.55),
    ],
)
def test_a_question_with_cjk_characters_trusts_the_vectors_less(question, weight):
    assert FusionWeights().of(question) == weight


# Rounded, so that what is nearly equal is not taken for equal by one and not by the other.
_SCORES = st.none() | st.integers(1, 100_000).map(lambda score: score / 1000)
_COSINES = st.none() | st.integers(-1000, 1000).map(lambda cosine: cosine / 1000)


@st.composite
def candidates_of(draw: st.DrawFn, legs: Legs) -> list[Candidate]:
    """Draw what `legs` may find: a leg that is asked alone gives everything a score."""
    scores = {"text": _SCORES, "vector": _COSINES}
    of_leg = {
        leg: strategy if len(legs) > 1 else strategy.filter(lambda score: score is not None)
        for leg, strategy in scores.items()
    }
    text, cosine = (of_leg[leg] if leg in legs else st.none() for leg in ("text", "vector"))
    rows = draw(st.lists(st.tuples(st.integers(1, 4), text, cosine), max_size=_MOST))
    found = [entry(chunk, UUID(int=source), *scores) for chunk, (source, *scores) in enumerate(rows, start=1)]
    return draw(st.permutations(found))


@pytest.mark.parametrize("legs", [BOTH, ("text",), ("vector",)])
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    data=st.data(),
    weight=st.integers(0, 100).map(lambda percent: percent / 100),
    group_by=st.sampled_from([None, "document"]),
    limit=st.integers(1, _MOST),
)
def test_every_ranking_is_as_defined(rank, legs, data, weight, group_by, limit):
    candidates = data.draw(candidates_of(legs))

    hits = rank(candidates, legs, group_by, weight=weight, limit=limit)

    expected = ranked(candidates, legs, weight, group_by)[:limit]
    assert [(hit.chunk, hit.text, hit.cosine) for hit in hits] == [
        (hit.chunk, hit.text, hit.cosine) for hit in expected
    ]
    assert [hit.score for hit in hits] == pytest.approx([hit.score for hit in expected], abs=1e-9)
    assert len(legs) == 1 or all(0 <= hit.score <= 1 for hit in hits)
