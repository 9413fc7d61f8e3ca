"""Chooses the stretch of a passage that shows best why it was found."""

from bisect import bisect_right
from collections.abc import Collection

from domain.shared.text import Analyzer
from queries.search.message import Highlight

_WIDTH = 240
_LEAD = 40


def highlight(text: str, terms: Collection[str], analyzer: Analyzer) -> Highlight:
    """Return the stretch of `text`, about 240 characters, in which most of `terms` stand; its start if none does."""
    spans = _merged(analyzer.spans_of(terms, text))
    best_start, best_spans = _fullest(spans)
    best_start = _word_start(text, best_start)
    end = min(len(text), max(best_start + _WIDTH, best_spans[-1][1] if best_spans else 0))
    return Highlight(
        text=text[best_start:end], spans=[(start - best_start, stop - best_start) for start, stop in best_spans]
    )


def _fullest(spans: list[tuple[int, int]]) -> tuple[int, list[tuple[int, int]]]:
    """Return where a stretch with the most spans starts, the text's beginning or one of them, and which those are."""
    ends = [end for _, end in spans]
    best_start, first, last = 0, 0, bisect_right(ends, _WIDTH)
    for index, (start, _) in enumerate(spans):
        beyond = bisect_right(ends, start + _WIDTH)
        if beyond - index > last - first:
            best_start, first, last = start, index, beyond
    return best_start, spans[first:last]


def _merged(spans: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Return spans without overlaps: Chinese terms are characters and bigrams."""
    merged: list[tuple[int, int]] = []
    for start, end in sorted(spans):
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((start, end))
    return merged


def _word_start(text: str, start: int) -> int:
    """Return the last beginning of a word before `start`, or the text's when that is near."""
    before = text.rfind(" ", max(0, start - _LEAD), max(0, start - 1))
    if before >= 0:
        return before + 1
    return 0 if start <= _LEAD else start
