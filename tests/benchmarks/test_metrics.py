"""The metrics of rankings and times, with values computed by hand."""

from math import log2

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.metrics import ndcg, percentile, recall


def test_the_best_order_is_worth_one():
    assert ndcg(["a", "b", "c"], {"a": 3, "b": 2, "c": 1}, 10) == pytest.approx(1.0)


def test_the_only_relevant_document_at_the_second_place_is_discounted_by_log2_of_three():
    assert ndcg(["x", "a"], {"a": 1}, 10) == pytest.approx(1 / log2(3))  # 0.6309


def test_gains_are_the_relevance_itself():
    assert ndcg(["b", "a"], {"a": 4, "b": 1}, 10) == pytest.approx((1 + 4 * 0.63093) / (4 + 0.63093), abs=1e-5)


def test_what_stands_below_the_depth_counts_nothing():
    assert ndcg(["x", "y", "a"], {"a": 1}, 2) == 0.0


def test_the_ideal_order_is_cut_at_the_same_depth():
    assert ndcg(["a", "b"], {"a": 1, "b": 1, "c": 1}, 2) == pytest.approx(1.0)


def test_judged_documents_that_are_missing_cost_their_share():
    assert ndcg(["a", "x"], {"a": 1, "b": 1}, 10) == pytest.approx(0.61315, abs=1e-5)


def test_documents_that_are_judged_irrelevant_gain_nothing():
    assert ndcg(["x", "a"], {"a": 1, "x": 0}, 10) == pytest.approx(0.63093, abs=1e-5)


def test_a_document_that_is_found_twice_counts_once_and_takes_one_place():
    assert ndcg(["x", "x", "a"], {"a": 1}, 10) == pytest.approx(0.63093, abs=1e-5)


def test_an_empty_answer_is_worth_nothing():
    assert ndcg([], {"a": 1}, 10) == 0.0
    assert recall([], {"a": 1}, 100) == 0.0


@pytest.mark.parametrize("metric", [ndcg, recall])
def test_a_query_without_a_relevant_document_can_t_be_judged(metric):
    with pytest.raises(ValueError, match="no document is relevant"):
        metric(["a"], {"a": 0}, 10)


def test_recall_is_the_share_of_the_relevant_documents_that_were_found():
    gains = {"a": 3, "b": 1, "c": 1, "x": 0}

    assert recall(["x", "a", "y", "b", "c"], gains, 4) == pytest.approx(2 / 3)


@given(ranking=st.lists(st.sampled_from("abcdef")), gains=st.dictionaries(st.sampled_from("abcd"), st.integers(1, 4)))
def test_both_lie_between_zero_and_one(ranking, gains):
    gains |= {"a": 1}

    assert 0 <= ndcg(ranking, gains, 3) <= 1 + 1e-9
    assert 0 <= recall(ranking, gains, 3) <= 1


@pytest.mark.parametrize(("percent", "value"), [(50, 5.0), (95, 10.0), (90, 9.0), (0, 1.0), (100, 10.0)])
def test_a_percentile_is_the_value_at_the_nearest_rank(percent, value):
    assert percentile([10.0, 1, 2, 3, 4, 5, 6, 7, 8, 9], percent) == value


def test_a_percentile_of_nothing_is_refused():
    with pytest.raises(ValueError, match="of nothing"):
        percentile([], 50)
