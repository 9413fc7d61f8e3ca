"""The ranking as its definition says it, one candidate at a time."""

from collections import defaultdict
from collections.abc import Hashable, Sequence
from typing import Literal, NamedTuple
from uuid import UUID

from queries.search.message import GroupBy, Legs


class Candidate(NamedTuple):
    """A chunk that a leg has found, with the scores that the legs give it: BM25 and the cosine, None without one."""

    chunk: int
    source_kind: Literal["entry", "document"]
    source_id: UUID
    text: float | None = None
    cosine: float | None = None


class Hit(NamedTuple):
    """A passage in the ranking: the best one of a source when they are folded, with the best scores of all of them."""

    chunk: int
    score: float
    text: float | None
    cosine: float | None


def ranked(candidates: Sequence[Candidate], legs: Legs, weight: float, group_by: GroupBy | None) -> list[Hit]:
    """Return all hits, best first, of two equal ones the older."""
    groups: dict[Hashable, list[tuple[Candidate, float, float]]] = defaultdict(list)
    for each in candidates:
        key = (each.source_kind, each.source_id) if group_by else each.chunk
        groups[key].append((each, *_shares(each, candidates, legs, weight)))
    return sorted(map(_hit, groups.values()), key=lambda hit: (-hit.score, hit.chunk))


def _shares(each: Candidate, of: Sequence[Candidate], legs: Legs, weight: float) -> tuple[float, float]:
    """Return what text and vector add to the score of a candidate."""
    if legs == ("text",):
        return each.text or 0.0, 0.0
    if legs == ("vector",):
        return 0.0, each.cosine or 0.0
    best = max((other.text for other in of if other.text is not None), default=0.0)
    of_text = 0.0 if each.text is None else (1 - weight) * (each.text / best)
    if each.cosine is None:
        return of_text, 0.0
    cosines = [other.cosine for other in of if other.cosine is not None]
    lowest, highest = min(cosines), max(cosines)
    scaled = (each.cosine - lowest) / (highest - lowest) if highest > lowest else 1.0
    return of_text, weight * scaled


def _hit(group: Sequence[tuple[Candidate, float, float]]) -> Hit:
    best, *_ = sorted(group, key=lambda share: (-round(share[1] + share[2], 9), share[0].chunk))
    return Hit(
        chunk=best[0].chunk,
        score=round(max(text for _, text, _ in group) + max(vector for *_, vector in group), 9),
        text=max((each.text for each, *_ in group if each.text is not None), default=None),
        cosine=max((each.cosine for each, *_ in group if each.cosine is not None), default=None),
    )
