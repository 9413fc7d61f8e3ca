"""How the two legs of a search become one ranking: chunks are folded to sources, scores are fused convexly.

A convex combination keeps a leg that knows nothing about a question from ruining the other one, which reciprocal rank
fusion does not (Bruch, Gai, Ingber: An Analysis of Fusion Functions for Hybrid Retrieval, 2023).
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal
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


@dataclass(frozen=True)
class Candidate:
    """A chunk that a leg has found, with the scores that the legs give it.

    Attributes:
        text: its BM25 score, or None when it holds none of the question's terms.
        cosine: its cosine with the question, or None when it has no vector (yet).
        group: candidates of one source and one group are folded to one hit; all of a source, when they have none.
    """

    chunk: int
    source_kind: Literal["entry", "document"]
    source_id: UUID
    text: float | None = None
    cosine: float | None = None
    group: int | None = None


@dataclass(frozen=True)
class Hit:
    """A source, or a group of its chunks, in the ranking.

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


def missing_scores(candidates: Iterable[Candidate]) -> tuple[list[int], list[int]]:
    """Return the chunks whose text score and those whose cosine are still to be asked for."""
    found = list(candidates)
    return (
        [candidate.chunk for candidate in found if candidate.text is None],
        [candidate.chunk for candidate in found if candidate.cosine is None],
    )


def united(text: Sequence[Candidate], vector: Sequence[Candidate]) -> list[Candidate]:
    """Return each chunk of the two legs' answers once, with both scores where both found it; ordered by chunk."""
    return with_scores(
        {candidate.chunk: candidate for candidate in (*text, *vector)}.values(),
        text={candidate.chunk: candidate.text for candidate in text if candidate.text is not None},
        cosine={candidate.chunk: candidate.cosine for candidate in vector if candidate.cosine is not None},
    )


def with_scores(
    candidates: Iterable[Candidate], *, text: Mapping[int, float], cosine: Mapping[int, float]
) -> list[Candidate]:
    """Return `candidates` with the scores of `text` and `cosine`, by chunk, filled in; ordered by chunk."""
    return [
        Candidate(
            chunk=candidate.chunk,
            source_kind=candidate.source_kind,
            source_id=candidate.source_id,
            text=text.get(candidate.chunk, candidate.text),
            cosine=cosine.get(candidate.chunk, candidate.cosine),
        )
        for candidate in sorted(candidates, key=lambda candidate: candidate.chunk)
    ]


def rank_by_text(candidates: Sequence[Candidate]) -> list[Hit]:
    """Rank sources by their best BM25 score."""
    return _ranked(candidates, {each.chunk: each.text for each in candidates if each.text is not None})


def rank_by_cosine(candidates: Sequence[Candidate]) -> list[Hit]:
    """Rank sources by their best cosine."""
    return _ranked(candidates, {each.chunk: each.cosine for each in candidates if each.cosine is not None})


def rank_by_both(candidates: Sequence[Candidate], *, vector_weight: float) -> list[Hit]:
    """Rank sources by (1 - w) · text + w · vector, each the best of the source's chunks.

    Text scores are divided by the best one, cosines scaled from the lowest to the highest of `candidates`, which is why
    they must be the union of both legs' answers with both scores. Without a score a chunk counts 0 on that leg.
    """
    text = _divided_by_best(candidates)
    vector = _scaled(candidates)
    fused = {chunk: (1 - vector_weight) * text[chunk] + vector_weight * vector[chunk] for chunk in text}
    hits = []
    for hit in _ranked(candidates, fused):
        best_text = max(text[chunk] for chunk in hit.chunks)
        best_vector = max(vector[chunk] for chunk in hit.chunks)
        score = round((1 - vector_weight) * best_text + vector_weight * best_vector, _DECIMALS)
        hits.append(Hit(hit.source_kind, hit.source_id, score, hit.text, hit.cosine, hit.chunks))
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


def _ranked(candidates: Iterable[Candidate], scores: Mapping[int, float]) -> list[Hit]:
    """Fold the chunks that have a score to sources: a source counts what its best chunk does. Best first."""
    rounded = {chunk: round(score, _DECIMALS) for chunk, score in scores.items()}
    scored = [candidate for candidate in candidates if candidate.chunk in rounded]
    sources: dict[tuple[str, UUID, int | None], list[Candidate]] = {}
    for candidate in sorted(scored, key=lambda candidate: (-rounded[candidate.chunk], candidate.chunk)):
        sources.setdefault((candidate.source_kind, candidate.source_id, candidate.group), []).append(candidate)
    hits = [
        Hit(
            source_kind=chunks[0].source_kind,
            source_id=chunks[0].source_id,
            score=rounded[chunks[0].chunk],
            text=_best(candidate.text for candidate in chunks),
            cosine=_best(candidate.cosine for candidate in chunks),
            chunks=tuple(candidate.chunk for candidate in chunks),
        )
        for chunks in sources.values()
    ]
    return sorted(hits, key=_order)


def _best(scores: Iterable[float | None]) -> float | None:
    return max((score for score in scores if score is not None), default=None)


def _order(hit: Hit) -> tuple[float, int]:
    # Chunk numbers are unique and grow with the log, so of two equal hits the older text comes first, in every answer.
    return -hit.score, hit.chunks[0]
