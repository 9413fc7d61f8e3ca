"""Where every choice of a run comes from, and the words that it makes up."""

import random


def choices_of(seed: int, purpose: str) -> random.Random:
    """Return a source of choices that is the same for the same seed and purpose, whatever else is chosen."""
    return random.Random(f"{seed} {purpose}")  # noqa: S311 - to be repeated, not to be secret


def new_word(choice: random.Random) -> str:
    """Return a word that nobody else uses, of letters alone."""
    digits = choice.randrange(26**9)
    return "q" + "".join(chr(ord("a") + digits // 26**place % 26) for place in range(9)) + "x"
