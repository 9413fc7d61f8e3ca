"""Retrieval sets are read as they are laid out, and judged over their queries."""

import pytest

from benchmarks.retrieval import Asked, RetrievalSet, judged, read_set, sampled, tenant_of


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "docs.jsonl").write_text(
        '{"id": "1", "title": " Noise ", "text": "Of jets."}\n{"id": "2", "title": "", "text": "Heat."}\n', "utf-8"
    )
    (tmp_path / "queries.jsonl").write_text(
        '{"id": "q1", "text": "jets?", "answer": "noise"}\n{"id": "q2", "text": "heat?"}\n{"id": "q3", "text": "?"}\n',
        "utf-8",
    )
    (tmp_path / "qrels.tsv").write_text("query_id\tdoc_id\trelevance\nq1\t1\t4\nq1\t2\t1\nq2\t2\t0\n", "utf-8")
    return tmp_path


def test_a_set_has_its_documents_queries_and_gains(folder):
    read = read_set(folder)

    assert [(each.id, each.title, each.text) for each in read.documents] == [
        ("1", "Noise", "Of jets."),
        ("2", "", "Heat."),
    ]
    assert read.gains == {"q1": {"1": 4.0, "2": 1.0}}


def test_queries_without_a_relevant_document_are_left_out(folder):
    assert read_set(folder).queries == {"q1": "jets?"}


def test_a_sample_is_the_same_for_the_same_seed():
    queries = {str(number): "?" for number in range(100)}

    assert sampled(queries, 10, seed=7) == sampled(queries, 10, seed=7)
    assert sampled(queries, 10, seed=7) != sampled(queries, 10, seed=8)
    assert sampled(queries, 500, seed=7) == queries


def test_sets_of_other_documents_or_of_another_kind_have_tenants_of_their_own(folder):
    read = read_set(folder)
    fewer = RetrievalSet(read.name, read.documents[:1], read.queries, read.gains)

    assert len({tenant_of(read, "entries"), tenant_of(read, "documents"), tenant_of(fewer, "entries")}) == 3


def test_an_empty_query_counts_as_unanswered_and_took_no_time():
    figures = judged([Asked("q1", ["a"], 10.0), Asked("q2", (), None)], {"q1": {"a": 1.0}, "q2": {"b": 1.0}})

    assert (figures["queries"], figures["ndcg@10"], figures["p95_ms"]) == (2, 0.5, 10.0)


def test_figures_are_means_over_the_queries_and_percentiles_of_the_times():
    asked = [Asked("q1", ["a"], 10.0), Asked("q2", ["x", "b"], 30.0)]

    figures = judged(asked, {"q1": {"a": 1.0}, "q2": {"b": 1.0}})

    assert figures == {"queries": 2, "ndcg@10": 0.8155, "recall@100": 1.0, "p50_ms": 10.0, "p95_ms": 30.0}
