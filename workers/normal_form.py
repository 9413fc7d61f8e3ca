"""Unicode's normal forms in time proportional to the text's length, however many marks stand on one letter."""

import re
import unicodedata
from functools import cache
from typing import Literal

Form = Literal["NFC", "NFKC"]

MOST_MARKS = 32
"""As many marks in a row are put in order together; Unicode's Stream-Safe Text Format (UAX #15) has 30."""

_SPACING_VOICED_MARKS = "\uff9e\uff9f"  # letters that NFKC makes marks of
_PLANES_OF_MARKS = range(0x300, 0x20000)
_MAY_BE_MARK = re.compile("[\u0300-\U0001ffff]")


def normalized(form: Form, text: str) -> str:
    """Return `text` in a normal form; more than 32 marks in a row are put in order 32 by 32.

    CPython sorts the marks in a row by insertion, so that a run of them takes the square of its length.
    """
    if _MAY_BE_MARK.search(text) is None:
        return unicodedata.normalize(form, text)
    done, parts = 0, []
    for run in _long_run().finditer(text):
        parts.append(unicodedata.normalize(form, text[done : run.end()]))
        done = run.end()
    parts.append(unicodedata.normalize(form, text[done:]))
    return "".join(parts)


@cache
def marks() -> frozenset[str]:
    """Return the characters that normalisation may move past one another."""
    combining = (chr(code) for code in _PLANES_OF_MARKS if unicodedata.category(chr(code)).startswith("M"))
    return frozenset(_SPACING_VOICED_MARKS) | {
        each for each in combining if unicodedata.combining(unicodedata.normalize("NFKD", each)[0])
    }


@cache
def _long_run() -> re.Pattern[str]:
    """Matches as many marks as are put in order together, where more follow."""
    each = "".join(sorted(marks()))
    return re.compile(f"[{each}]{{{MOST_MARKS}}}(?=[{each}])")
