"""The SQL of the text leg, against BM25 written out in Python."""

import math
import random
from collections import Counter
from uuid import UUID

import pytest

from domain.shared.access import Actor, Role
from tests.reads.search.index import Passage, SearchIndex

ANN = Actor(tenant="acme", user="ann", roles=frozenset({Role.READER}))
BOB = Actor(tenant="acme", user="bob", roles=frozenset({Role.READER}))
ADMIN = Actor(tenant="acme", user="root", roles=frozenset({Role.ADMIN}))
STRANGER = Actor(tenant="other", user="ann", roles=frozenset({Role.ADMIN}))

_WORDS = "jet noise wing shock layer flow heat plate 噪声 流体".split()  # noqa: SIM905 - a list of words
_LIMITS = {"rare_terms": 8, "posting_budget": 10_000, "candidates": 300, "wanted": 0, "top": 100}


def random_passages(seed: int, count: int) -> list[Passage]:
    draw = random.Random(seed)  # noqa: S311 - reproducible on purpose
    return [
        Passage(
            position=number,
            source=UUID(int=number // 2),
            ordinal=number % 2,
            title=draw.choice(_WORDS),
            content=" ".join(draw.choices(_WORDS, k=draw.randint(0, 30))),
        )
        for number in range(1, count + 1)
    ]


def random_contents(draw: random.Random) -> list[str]:
    return [" ".join(draw.choices(_WORDS, k=draw.randint(0, 9))) for _ in range(draw.randint(0, 3))]


def stored(index: SearchIndex, passages: list[Passage]) -> SearchIndex:
    index.replace(passages, sources=[])
    return index


def found(index: SearchIndex, actor: Actor, *terms: str, **parameters: object) -> list[int]:
    rows = index.ask("text_search", actor, terms=list(terms), **(_LIMITS | parameters))
    return [row["chunk"] >> 20 for row in rows]


def bm25(passages: list[Passage], terms: list[str]) -> dict[int, float]:
    """Robertson and Zaragoza 2009, with Lucene's idf, which is never negative."""
    documents = {passage.chunk: passage.frequencies() for passage in passages}
    average = sum(counts.total() for counts in documents.values()) / len(documents)
    scores: dict[int, float] = {}
    for term in terms:
        holding = sum(term in counts for counts in documents.values())
        weight = math.log(1 + (len(documents) - holding + 0.5) / (holding + 0.5))
        for chunk, counts in documents.items():
            if term in counts:
                norm = 1.2 * (0.25 + 0.75 * counts.total() / average)
                scores[chunk] = scores.get(chunk, 0) + weight * counts[term] * 2.2 / (counts[term] + norm)
    return scores


@pytest.mark.parametrize("budget", [10_000, 0])
def test_scores_are_bm25_over_all_terms_whatever_the_candidates_came_from(index, budget):
    passages = random_passages(1, 60)
    terms = ["jet", "heat", "噪声"]

    rows = stored(index, passages).ask("text_search", ANN, terms=terms, **(_LIMITS | {"posting_budget": budget}))

    expected = bm25(passages, terms)
    assert rows
    assert {row["chunk"]: row["text"] for row in rows} == pytest.approx(
        {row["chunk"]: expected[row["chunk"]] for row in rows}
    )
    assert [row["text"] for row in rows] == sorted((row["text"] for row in rows), reverse=True)


def test_within_the_budget_every_chunk_that_holds_a_term_is_a_candidate(index):
    passages = random_passages(2, 60)

    rows = stored(index, passages).ask("text_search", ANN, terms=["jet", "heat"], **_LIMITS)

    assert {row["chunk"] for row in rows} == bm25(passages, ["jet", "heat"]).keys()


def test_where_too_few_hold_a_rare_term_all_that_hold_any_are_found(index):
    common = [Passage(position=n, source=UUID(int=n), content="jet", tags=("some",) * (n % 2)) for n in range(2, 30)]
    stored(index, [Passage(position=1, source=UUID(int=1), content="jet wing", tags=("some",)), *common])
    narrow = {"posting_budget": 0, "candidates": 5}

    assert found(index, ANN, "jet", "wing", **narrow, wanted=1) == [1]
    assert found(index, ANN, "jet", "wing", **narrow, wanted=2) == list(range(1, 30))
    assert found(index, ANN, "jet", "wing", **narrow, wanted=2, tag="some") == list(range(1, 30, 2))


def test_a_question_of_common_words_only_still_has_answers(index):
    stored(index, [Passage(position=n, source=UUID(int=n), content="jet noise") for n in range(1, 30)])

    assert len(found(index, ANN, "jet", "nois", posting_budget=0)) == 29


def test_unknown_terms_find_nothing(index):
    assert found(stored(index, random_passages(4, 10)), ANN, "zeppelin") == []


def test_an_empty_index_answers_with_nothing(index):
    assert found(index, ANN, "jet") == []


def test_private_chunks_are_found_by_their_owner_and_by_administrators(index):
    stored(index, [Passage(position=1, source=UUID(int=1), content="jet", visibility="private")])

    assert [found(index, actor, "jet") for actor in (ANN, ADMIN, BOB)] == [[1], [1], []]


def test_private_chunks_of_others_do_not_use_up_the_candidates(index):
    hidden = [Passage(position=n, source=UUID(int=n), content="jet", visibility="private") for n in range(1, 50)]
    stored(index, [*hidden, Passage(position=50, source=UUID(int=50), content="jet wing flow heat")])

    assert found(index, BOB, "jet", candidates=5) == [50]


def test_another_tenant_s_chunks_are_neither_found_nor_shown(index):
    passage = Passage(position=1, source=UUID(int=1), content="jet")
    stored(index, [passage])

    assert found(index, STRANGER, "jet") == []
    assert index.show(passage, "text", STRANGER) == []


@pytest.mark.parametrize(
    ("name", "value", "positions"),
    [
        ("kind", "document", [2]),
        ("document_id", UUID(int=2), [2]),
        ("document_id", UUID(int=3), []),
        ("entity_type", "paper", [3]),
        ("category", "physics", [1]),
        ("tag", "urgent", [1, 2]),
        ("tag", "none has it", []),
    ],
)
def test_a_filter_leaves_only_what_matches(index, name, value, positions):
    stored(
        index,
        [
            Passage(position=1, source=UUID(int=1), content="jet", category="physics", tags=("urgent", "a, b")),
            Passage(position=2, source=UUID(int=2), content="jet", source_kind="document", tags=("urgent",)),
            Passage(position=3, source=UUID(int=3), content="jet", entity_type="paper"),
        ],
    )

    assert found(index, ANN, "jet", **{name: value}) == positions


def test_a_chunk_shows_what_was_stored(index):
    passage = Passage(position=7, source=UUID(int=1), ordinal=3, title="Noise", content="of jets", tags=("a b", '"'))
    (row,) = stored(index, [passage]).show(passage, "text", ANN)

    assert (row["title"], row["content"], row["tags"], row["heading_path"]) == (
        "Noise", "of jets", ["a b", '"'], ["Part", "one, two"],
    )  # fmt: skip
    assert (row["event_position"], row["ordinal"], row["content_hash"]) == (7, 3, passage.content_hash)


def test_counters_stay_exact_through_any_changes(index):
    draw = random.Random(5)  # noqa: S311 - reproducible on purpose
    held: dict[tuple[str, UUID], list[Passage]] = {}
    for step in range(1, 30):
        sources = [(draw.choice(["acme", "other"]), UUID(int=draw.randint(1, 5))) for _ in range(draw.randint(1, 3))]
        added = {
            (tenant, source): [
                Passage(position=step * 10 + place, source=source, tenant=tenant, ordinal=ordinal, content=content)
                for ordinal, content in enumerate(random_contents(draw))
            ]
            for place, (tenant, source) in enumerate(dict.fromkeys(sources))
        }
        index.replace([passage for passages in added.values() for passage in passages], sources=added)
        held |= added

    passages = [passage for chunks in held.values() for passage in chunks]
    frequencies = Counter((passage.tenant, term) for passage in passages for term in passage.frequencies())
    assert {(row["tenant"], row["term"]): row["chunks"] for row in index.rows("terms")} == frequencies
    assert {(row["tenant"], row["term"], row["chunk"]): row["frequency"] for row in index.rows("postings")} == {
        (passage.tenant, term, passage.chunk): count
        for passage in passages
        for term, count in passage.frequencies().items()
    }
    assert {row["tenant"]: (row["chunks"], row["total_length"]) for row in index.rows("stats")} == {
        tenant: (
            sum(passage.tenant == tenant for passage in passages),
            sum(passage.frequencies().total() for passage in passages if passage.tenant == tenant),
        )
        for tenant in {passage.tenant for passage in passages}
    }


def test_a_removed_source_leaves_no_row_in_any_table(index):
    source = UUID(int=1)
    stored(index, [Passage(position=1, source=source, content="jet noise", tags=("urgent",))])

    index.replace([], sources=[("acme", source)])

    assert [index.rows(table) for table in ("chunks", "postings", "tags", "terms", "stats")] == [[]] * 5


def test_the_reader_s_plan_looks_postings_and_chunks_up_by_key(index):
    """Row-level security must leave the keys usable: no table may be read from end to end."""
    plan = "\n".join(
        stored(index, random_passages(6, 2_000)).plan("text_search", ANN, terms=["jet", "heat"], **_LIMITS)
    )

    assert "search_1_postings_pkey" in plan
    assert "Seq Scan on search_1_postings" not in plan
    assert "Seq Scan on search_1_chunks" not in plan
