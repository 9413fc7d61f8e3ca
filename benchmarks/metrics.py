"""What a ranking is worth, and how long answers took."""

from collections.abc import Mapping, Sequence
from math import ceil, log2


def ndcg(ranking: Sequence[str], gains: Mapping[str, float], depth: int) -> float:
    """Return the normalised discounted cumulative gain of the first `depth` documents, 0 to 1.

    The gain is the relevance itself and the discount log2(rank + 1), ranks from 1, over the same sum for the best
    possible order of the judged documents (Järvelin and Kekäläinen, 2002). A document counts at its first place only.

    Args:
        ranking: the ids of documents, best first.
        gains: the relevance of each judged document; the others have none.
        depth: how many are looked at.

    Raises:
        ValueError: no document is relevant.
    """
    ideal = _discounted(sorted((gain for gain in gains.values() if gain > 0), reverse=True)[:depth])
    if not ideal:
        raise ValueError("no document is relevant")
    return _discounted([gains.get(document, 0.0) for document in list(dict.fromkeys(ranking))[:depth]]) / ideal


def recall(ranking: Sequence[str], gains: Mapping[str, float], depth: int) -> float:
    """Return the share of the relevant documents that are among the first `depth`, 0 to 1.

    Raises:
        ValueError: no document is relevant.
    """
    relevant = {document for document, gain in gains.items() if gain > 0}
    if not relevant:
        raise ValueError("no document is relevant")
    return len(relevant.intersection(list(dict.fromkeys(ranking))[:depth])) / len(relevant)


def percentile(values: Sequence[float], percent: float) -> float:
    """Return the smallest of `values` that `percent` of them do not exceed (nearest rank).

    Raises:
        ValueError: there are no values.
    """
    if not values:
        raise ValueError("a percentile of nothing")
    return sorted(values)[max(0, ceil(len(values) * percent / 100) - 1)]


def _discounted(gains: Sequence[float]) -> float:
    return sum(gain / log2(rank + 1) for rank, gain in enumerate(gains, start=1))
