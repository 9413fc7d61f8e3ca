"""Entries that are made up, the same every time: words of a Zipf-like distribution, as natural text has it."""

import random
from collections.abc import Iterator

_VOCABULARY = 3_000
_WORDS = 60
_SYLLABLES = ("ba", "ke", "li", "mo", "nu", "ra", "se", "ti", "vo", "zu", "dan", "fer", "gil", "hom", "pur")


def made_up_entries(seed: int = 1) -> Iterator[dict[str, str]]:
    """Yield entries as the API takes them, without an end."""
    words = [made_up_word(number) for number in range(_VOCABULARY)]
    weights = [1 / (rank + 1) for rank in range(_VOCABULARY)]
    drawn = random.Random(seed)  # noqa: S311 - texts, not secrets
    while True:
        text = drawn.choices(words, weights, k=_WORDS)
        yield {"name": " ".join(text[:4]), "description": " ".join(text)}


def made_up_word(number: int) -> str:
    """Return the word of a number; each has its own."""
    syllables = []
    while True:
        number, index = divmod(number, len(_SYLLABLES))
        syllables.append(_SYLLABLES[index])
        if number == 0:
            return "".join(syllables)
