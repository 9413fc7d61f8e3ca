"""Where every choice of a run comes from."""

import random


def choices_of(seed: int, purpose: str) -> random.Random:
    """Return a source of choices that is the same for the same seed and purpose, whatever else is chosen."""
    return random.Random(f"{seed} {purpose}")  # noqa: S311 - to be repeated, not to be secret
