"""How the two legs of a search become one ranking: chunks are folded to sources, scores are fused convexly.

A convex combination keeps a leg that knows nothing about a question from ruining the other one, which reciprocal rank
fusion does not (Bruch, Gai, Ingber: An Analysis of Fusion Functions for Hybrid Retrieval, 2023).
"""

import re
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple
from uuid import UUID

_CJK = re.compile(
    "[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af\uf900-\ufaff\uff66-\uffdc\U00020000-\U0003ffff]"
)
_DECIMALS = 9  # sums of floats differ in their last digits from plan to plan; equal scores must be equal


@dataclass(frozen=True)
class FusionWeights:
    """The share of the vector leg, 0 to 1; settings of an index generation, tuned for its model and analyzer.

    Attributes:
        usual: for questions in a language that the model knows.
        cjk: for questions with Chinese, Japanese or Korean characters, which an English model can't judge.
    """

    usual: float = 0.55
    cjk: float = 0.15

    def of(self, question: str) -> float:
        """Return the share of the vector leg for `question`."""
        return self.usual if _CJK.search(question) is None else self.cjk


class Candidate(NamedTuple):
    """A chunk that a leg has found, with the scores that the legs give it.

    Attributes:
        text: its BM25 score, or None when it holds none of the question's terms.
        cosine: its cosine with the question, or None when it has no vector (yet).
    """

    chunk: int
    source_kind: Literal["entry", "document"]
    source_id: UUID
    text: float | None = None
    cosine: float | None = None


class Hit(NamedTuple):
    """A source, or a passage alone, in the ranking.

    Attributes:
        score: what the ranking goes by; from 0 to 1 in the hybrid mode, else the leg's own best score.
        text: the best BM25 score of its chunks.
        cosine: the best cosine of its chunks.
        chunks: its chunks, best first.
    """

    source_kind: Literal["entry", "document"]
    source_id: UUID
    score: float
    text: float | None
    cosine: float | None
    chunks: tuple[int, ...]


Group = Callable[[Candidate], Hashable]
"""Says which candidates are folded to one hit: those for which it returns the same."""


def by_source(candidate: Candidate) -> Hashable:
    """Fold the passages of an entry or a document."""
    return candidate.source_kind, candidate.source_id


def by_passage(candidate: Candidate) -> Hashable:
    """Fold nothing."""
    return candidate.chunk


def rank_by_text(candidates: Sequence[Candidate], group: Group = by_source) -> list[Hit]:
    """Rank groups by their best BM25 score."""
    return _ranked(candidates, {each.chunk: each.text for each in candidates if each.text is not None}, group)


def rank_by_cosine(candidates: Sequence[Candidate], group: Group = by_source) -> list[Hit]:
    """Rank groups by their best cosine."""
    return _ranked(candidates, {each.chunk: each.cosine for each in candidates if each.cosine is not None}, group)


def rank_by_both(candidates: Sequence[Candidate], vector_weight: float, group: Group = by_source) -> list[Hit]:
    """Rank groups by (1 - w) · text + w · vector, each the best of the group's chunks.

    Text scores are divided by the best one, cosines scaled from the lowest to the highest of `candidates`, which is why
    they must be the union of both legs' answers with both scores. Without a score a chunk counts 0 on that leg.
    """
    text = _divided_by_best(candidates)
    vector = _scaled(candidates)
    fused = {chunk: (1 - vector_weight) * text[chunk] + vector_weight * vector[chunk] for chunk in text}
    hits = []
    for hit in _ranked(candidates, fused, group):
        best_text = max(text[chunk] for chunk in hit.chunks)
        best_vector = max(vector[chunk] for chunk in hit.chunks)
        hits.append(hit._replace(score=_rounded((1 - vector_weight) * best_text + vector_weight * best_vector)))
    return sorted(hits, key=_order)


def _divided_by_best(candidates: Sequence[Candidate]) -> dict[int, float]:
    best = max((candidate.text or 0.0 for candidate in candidates), default=0.0)
    return {candidate.chunk: (candidate.text or 0.0) / best if best > 0 else 0.0 for candidate in candidates}


def _scaled(candidates: Sequence[Candidate]) -> dict[int, float]:
    cosines = [candidate.cosine for candidate in candidates if candidate.cosine is not None]
    lowest, highest = min(cosines, default=0.0), max(cosines, default=0.0)

    def scaled(cosine: float | None) -> float:
        if cosine is None:
            return 0.0
        return (cosine - lowest) / (highest - lowest) if highest > lowest else 1.0

    return {candidate.chunk: scaled(candidate.cosine) for candidate in candidates}


def _ranked(candidates: Iterable[Candidate], scores: Mapping[int, float], group: Group) -> list[Hit]:
    """Fold the chunks that have a score: a group counts what its best chunk does. Best first."""
    rounded = {chunk: _rounded(score) for chunk, score in scores.items()}
    scored = [candidate for candidate in candidates if candidate.chunk in rounded]
    groups: dict[Hashable, list[Candidate]] = {}
    for candidate in sorted(scored, key=lambda candidate: (-rounded[candidate.chunk], candidate.chunk)):
        groups.setdefault(group(candidate), []).append(candidate)
    return [
        Hit(
            source_kind=chunks[0].source_kind,
            source_id=chunks[0].source_id,
            score=rounded[chunks[0].chunk],
            text=_best(candidate.text for candidate in chunks),
            cosine=_best(candidate.cosine for candidate in chunks),
            chunks=tuple(candidate.chunk for candidate in chunks),
        )
        for chunks in groups.values()
    ]


def _rounded(score: float) -> float:
    return round(score, _DECIMALS)


def _best(scores: Iterable[float | None]) -> float | None:
    return max((score for score in scores if score is not None), default=None)


def _order(hit: Hit) -> tuple[float, int]:
    # Chunk numbers are unique and grow with the log, so of two equal hits the older text comes first, in every answer.
    return -hit.score, hit.chunks[0]
