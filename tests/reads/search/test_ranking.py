"""The ranking's arithmetic, with values computed by hand."""

from functools import partial
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from queries.search.ranking import (
    Candidate,
    FusionWeights,
    by_passage,
    by_source,
    rank_by_both,
    rank_by_cosine,
    rank_by_text,
)

_FIRST, _SECOND, _THIRD = UUID(int=1), UUID(int=2), UUID(int=3)


def entry(chunk: int, source: UUID, text: float | None = None, cosine: float | None = None) -> Candidate:
    return Candidate(chunk=chunk, source_kind="entry", source_id=source, text=text, cosine=cosine)


def test_hybrid_scores_are_the_convex_combination_of_scaled_scores():
    hits = rank_by_both(
        [entry(1, _FIRST, text=4.0, cosine=0.2), entry(2, _SECOND, text=2.0, cosine=0.6), entry(3, _THIRD, cosine=0.5)],
        vector_weight=0.55,
    )

    assert [(hit.source_id, hit.score) for hit in hits] == [
        (_SECOND, pytest.approx(0.45 * 0.5 + 0.55 * 1.0)),
        (_FIRST, pytest.approx(0.45 * 1.0 + 0.55 * 0.0)),
        (_THIRD, pytest.approx(0.45 * 0.0 + 0.55 * 0.75)),
    ]


def test_a_source_takes_the_best_of_its_chunks_on_each_leg():
    hits = rank_by_both(
        [
            entry(1, _FIRST, text=4.0, cosine=0.1),
            entry(2, _FIRST, text=1.0, cosine=0.9),
            entry(3, _SECOND, text=3.0, cosine=0.8),
        ],
        vector_weight=0.5,
    )

    assert [(hit.source_id, hit.score, hit.text, hit.cosine) for hit in hits] == [
        (_FIRST, 1.0, 4.0, 0.9),
        (_SECOND, pytest.approx(0.5 * 0.75 + 0.5 * 0.875), 3.0, 0.8),
    ]


def test_a_hit_lists_its_chunks_best_first():
    hits = rank_by_both(
        [entry(1, _FIRST, text=1.0, cosine=0.1), entry(2, _FIRST, text=4.0, cosine=0.9)], vector_weight=0.5
    )

    assert hits[0].chunks == (2, 1)


def test_a_chunk_without_a_score_counts_nothing_on_that_leg():
    hits = rank_by_both([entry(1, _FIRST, text=2.0), entry(2, _SECOND, cosine=0.3)], vector_weight=0.25)

    assert [(hit.source_id, hit.score) for hit in hits] == [(_FIRST, 0.75), (_SECOND, 0.25)]


def test_a_question_without_known_terms_is_ranked_by_cosine_alone():
    hits = rank_by_both([entry(1, _FIRST, cosine=0.1), entry(2, _SECOND, cosine=0.4)], vector_weight=0.55)

    assert [(hit.source_id, hit.score) for hit in hits] == [(_SECOND, 0.55), (_FIRST, 0.0)]


def test_equal_hits_come_in_the_order_of_the_log():
    hits = rank_by_text([entry(9, _FIRST, text=1.0), entry(4, _SECOND, text=1.0 + 1e-13), entry(6, _THIRD, text=1.0)])

    assert [hit.source_id for hit in hits] == [_SECOND, _THIRD, _FIRST]


def test_an_entry_and_a_document_of_the_same_id_are_two_hits():
    document = Candidate(chunk=2, source_kind="document", source_id=_FIRST, text=1.0)

    assert [hit.source_kind for hit in rank_by_text([entry(1, _FIRST, text=2.0), document])] == ["entry", "document"]


def test_a_single_leg_ranks_only_what_it_has_scored():
    candidates = [entry(1, _FIRST, text=2.0), entry(2, _SECOND, cosine=0.3)]

    assert [hit.source_id for hit in rank_by_text(candidates)] == [_FIRST]
    assert [hit.source_id for hit in rank_by_cosine(candidates)] == [_SECOND]


def test_nothing_found_is_an_empty_ranking():
    assert rank_by_both([], vector_weight=0.55) == []


def test_passages_are_hits_of_their_own_unless_they_are_folded():
    candidates = [entry(1, _FIRST, text=2.0), entry(2, _FIRST, text=3.0)]

    assert [hit.chunks for hit in rank_by_text(candidates, by_passage)] == [(2,), (1,)]
    assert [hit.chunks for hit in rank_by_text(candidates, by_source)] == [(2, 1)]


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


_SCORES = st.none() | st.floats(min_value=0.001, max_value=100)
_COSINES = st.none() | st.floats(min_value=-1, max_value=1)
_CANDIDATES = st.lists(st.tuples(st.integers(1, 4), _SCORES, _COSINES), max_size=20).map(
    lambda rows: [entry(chunk, UUID(int=source), text, cosine) for chunk, (source, text, cosine) in enumerate(rows)]
)


@given(candidates=_CANDIDATES, weight=st.floats(min_value=0, max_value=1))
def test_every_source_is_ranked_once_between_zero_and_one(candidates, weight):
    hits = rank_by_both(candidates, vector_weight=weight)

    assert sorted(hit.source_id for hit in hits) == sorted({candidate.source_id for candidate in candidates})
    assert all(0 <= hit.score <= 1 for hit in hits)
    assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)


@given(candidates=_CANDIDATES, weight=st.floats(min_value=0, max_value=1), seed=st.randoms())
def test_the_order_in_which_the_legs_answer_changes_nothing(candidates, weight, seed):
    shuffled = list(candidates)
    seed.shuffle(shuffled)

    assert rank_by_both(shuffled, vector_weight=weight) == rank_by_both(candidates, vector_weight=weight)


@given(candidates=_CANDIDATES, most=st.integers(0, 5))
def test_the_best_are_those_that_come_first_of_all(candidates, most):
    for ranked in (rank_by_text, rank_by_cosine, partial(rank_by_both, vector_weight=0.55)):
        assert ranked(candidates, most=most) == ranked(candidates)[:most]
