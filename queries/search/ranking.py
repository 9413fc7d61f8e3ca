"""How the two legs of a search become one ranking: chunks are folded to sources, scores are fused convexly.

A convex combination keeps a leg that knows nothing about a question from ruining the other one, which reciprocal rank
fusion does not (Bruch, Gai, Ingber: An Analysis of Fusion Functions for Hybrid Retrieval, 2023).
"""

import re
from collections.abc import Callable, Hashable, Iterable, Sequence
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


def rank_by_text(candidates: Iterable[Candidate], group: Group = by_source, most: int | None = None) -> list[Hit]:
    """Rank groups by their best BM25 score, and return the best ones, at the most `most`."""
    return _ranked([(each.text, 0.0, each) for each in candidates if each.text is not None], group, most)


def rank_by_cosine(candidates: Iterable[Candidate], group: Group = by_source, most: int | None = None) -> list[Hit]:
    """Rank groups by their best cosine, and return the best ones, at the most `most`."""
    return _ranked([(0.0, each.cosine, each) for each in candidates if each.cosine is not None], group, most)


def rank_by_both(
    candidates: Sequence[Candidate], vector_weight: float, group: Group = by_source, most: int | None = None
) -> list[Hit]:
    """Rank groups by (1 - w) · text + w · vector, each the best of the group's chunks.

    Text scores are divided by the best one, cosines scaled from the lowest to the highest of `candidates`, which is why
    they must be the union of both legs' answers with both scores. Without a score a chunk counts 0 on that leg.
    """
    best = max([each.text for each in candidates if each.text is not None], default=0.0)
    cosines = [each.cosine for each in candidates if each.cosine is not None]
    lowest, highest = min(cosines, default=0.0), max(cosines, default=0.0)

    def text(score: float | None) -> float:
        return 0.0 if score is None or best <= 0 else (1 - vector_weight) * (score / best)

    def vector(cosine: float | None) -> float:
        if cosine is None:
            return 0.0
        return vector_weight * ((cosine - lowest) / (highest - lowest)) if highest > lowest else vector_weight

    return _ranked([(text(each.text), vector(each.cosine), each) for each in candidates], group, most)


_Share = tuple[float, int, float, float, Candidate]
"""The negative score of a candidate and its chunk, by which they are ordered; what text and vector add; itself."""


def _ranked(scored: Iterable[tuple[float, float, Candidate]], group: Group, most: int | None) -> list[Hit]:
    """Rank groups by the sum of the best that text and vector add to the scores of their candidates.

    There may be hundreds for the ten that are shown, so only those become hits.
    """
    # Chunk numbers are unique and grow with the log, so of two equal scores the older text comes first in every answer.
    best_first = sorted([(-_rounded(text + vector), each.chunk, text, vector, each) for text, vector, each in scored])
    groups: dict[Hashable, list[_Share]] = {}
    for share in best_first:
        groups.setdefault(group(share[-1]), []).append(share)
    ordered = sorted([(_negative_score(shares), shares[0][1], shares) for shares in groups.values()])
    return [_hit(shares, -negative) for negative, _, shares in ordered[:most]]


def _negative_score(shares: Sequence[_Share]) -> float:
    if len(shares) == 1:
        return shares[0][0]
    return -_rounded(max([text for _, _, text, _, _ in shares]) + max([vector for _, _, _, vector, _ in shares]))


def _hit(shares: Sequence[_Share], score: float) -> Hit:
    chunks = [each for *_, each in shares]
    return Hit(
        source_kind=chunks[0].source_kind,
        source_id=chunks[0].source_id,
        score=score,
        text=max([each.text for each in chunks if each.text is not None], default=None),
        cosine=max([each.cosine for each in chunks if each.cosine is not None], default=None),
        chunks=tuple([each.chunk for each in chunks]),
    )


def _rounded(score: float) -> float:
    return round(score, _DECIMALS)
