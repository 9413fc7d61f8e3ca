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
    return _by_best(candidates, {each.chunk: each.text for each in candidates if each.text is not None}, group)


def rank_by_cosine(candidates: Sequence[Candidate], group: Group = by_source) -> list[Hit]:
    """Rank groups by their best cosine."""
    return _by_best(candidates, {each.chunk: each.cosine for each in candidates if each.cosine is not None}, group)


def rank_by_both(candidates: Sequence[Candidate], vector_weight: float, group: Group = by_source) -> list[Hit]:
    """Rank groups by (1 - w) · text + w · vector, each the best of the group's chunks.

    Text scores are divided by the best one, cosines scaled from the lowest to the highest of `candidates`, which is why
    they must be the union of both legs' answers with both scores. Without a score a chunk counts 0 on that leg.
    """
    text = _divided_by_best(candidates)
    vector = _scaled(candidates)
    fused = {chunk: (1 - vector_weight) * text[chunk] + vector_weight * vector[chunk] for chunk in text}
    hits = []
    for chunks in _folded(candidates, fused, group):
        best_text = max([text[each.chunk] for each in chunks])
        best_vector = max([vector[each.chunk] for each in chunks])
        hits.append(_hit(chunks, (1 - vector_weight) * best_text + vector_weight * best_vector))
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


def _by_best(candidates: Iterable[Candidate], scores: Mapping[int, float], group: Group) -> list[Hit]:
    """Rank groups by the best score of their chunks."""
    return [_hit(chunks, scores[chunks[0].chunk]) for chunks in _folded(candidates, scores, group)]


def _folded(
    candidates: Iterable[Candidate], scores: Mapping[int, float], group: Group
) -> Iterable[Sequence[Candidate]]:
    """Fold the chunks that have a score: groups in the order of their best ones, each with its best one first."""
    ordered = sorted([(-_rounded(scores[each.chunk]), each.chunk, each) for each in candidates if each.chunk in scores])
    groups: dict[Hashable, list[Candidate]] = {}
    for _, _, candidate in ordered:
        groups.setdefault(group(candidate), []).append(candidate)
    return groups.values()


def _hit(chunks: Sequence[Candidate], score: float) -> Hit:
    best = chunks[0]
    return Hit(
        source_kind=best.source_kind,
        source_id=best.source_id,
        score=_rounded(score),
        text=max([each.text for each in chunks if each.text is not None], default=None),
        cosine=max([each.cosine for each in chunks if each.cosine is not None], default=None),
        chunks=tuple([each.chunk for each in chunks]),
    )


def _rounded(score: float) -> float:
    return round(score, _DECIMALS)


def _order(hit: Hit) -> tuple[float, int]:
    # Chunk numbers are unique and grow with the log, so of two equal hits the older text comes first, in every answer.
    return -hit.score, hit.chunks[0]
