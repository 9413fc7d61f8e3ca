"""What the text leg keeps of a passage's terms: as text, since millions of small objects cost too much."""

from collections import Counter
from collections.abc import Iterable
from typing import NamedTuple

MOST_OF_A_TERM = 32_767
"""A frequency is a smallint in PostgreSQL."""


class TermCounts(NamedTuple):
    """The distinct terms of a text, and how often each occurs: both joined by spaces, which no term holds.

    Attributes:
        terms: each once, in the order in which they come first.
        frequencies: of the same order, up to `MOST_OF_A_TERM`.
        length: how many terms the text has, repetitions counted.
    """

    terms: str
    frequencies: str
    length: int


def counted(terms: Iterable[str]) -> TermCounts:
    """Return the counts of `terms`, which come in the order of their text."""
    counts = Counter(terms)
    frequencies = " ".join(str(min(count, MOST_OF_A_TERM)) for count in counts.values())
    return TermCounts(" ".join(counts), frequencies, counts.total())
