"""The shapes of hostile texts: functions from a number of characters to a text of exactly so many."""

import string
import unicodedata
from collections.abc import Callable, Mapping

Shape = Callable[[int], str]

_PUNCTUATION = string.punctuation + "…—–·•‣¿¡“”‘’«»‹›。｡，、；：？！「」『』（）【】〈〉《》．・"
_SPACES = "".join(chr(code) for code in range(0x3001) if chr(code).isspace())
_INVISIBLE = "\u00ad\u200b\u200c\u200d\u200e\u200f\u202a\u202b\u202d\u202e\u202c\u2060\u2066\u2067\u2069\ufeff\ufe0f"
_MARKS = "\u0301\u0327\u0345\u093c\u3099\u302a\u1dce"  # of seven combining classes
_SWAPPED_MARKS = "\u0301\u0327"  # in the order that normalisation has to change
_PAIRS = (
    ".a",
    "a. ",
    "a, ",
    ".)",
    '."',
    "。a",
    "a\n",
    "a \n",
    "\r\n",
    "\n \r",
    " \u2003",
    "a\u0301",
    "\u200da",
    "\u00ada",
)
_BRACKETS = ("()", "[]", "{}", "<>", "“”", "「」")
_SEQUENCES = {
    "letters": "x",
    "hex": "0123456789abcdef",
    "digits": "1234567890",
    "capital sigma and marks": "Σ'\u0301",
    "Chinese without punctuation": "天地玄黄宇宙洪荒日月盈昃",
    "Thai": "สวัสดี",
    "Hangul jamo": "\u1112\u1161\u11ab",
    "Indic vowels": "\u09c7\u09be",
    "Arabic": "مدرسة",
    "letters that become eighteen": "\ufdfa",
    "letters that become six": "\u3316",
    "letters that become three": "ﬃ",
    "full stops and digits": "1.2",
    "emoji family": "👨\u200d👩\u200d👧\u200d👦",
    "emoji with skin": "👍🏽",
    "flags": "🇩🇪",
    "astral Han": "𠀀",
    "words": "word ",
    "single letters": "a ",
    "sentences": "A sentence of some seven words here. ",
    "quoted sentences": "“Yes.” (No!) ",
    "words between 200 blanks": "a" + " " * 200,
    "words between 200 tabs": "a" + "\t" * 200,
    "200 characters and a blank": "x" * 200 + " ",
    "3,000 characters and a blank": "x" * 3_000 + " ",
    "Chinese and long words": "天" * 130 + "x" * 2_100,
    "a letter and 200 marks": "e" + _SWAPPED_MARKS * 100,
    "e-mail addresses": "a@b.c ",
    "at signs": "a@",
    "URLs": "https://a.b/c?d=e&f ",
    "underlined words": "a_b_",
    "hyphened words": "a-b-",
    "hyphens at line ends": "ab\ufffe",
    "escapes": "\\u0000\\",
    "mail headers": "A: b\r\n c\r\n",
    "CRLF lines": "a line\r\n",
    "blank lines": "a\n\n",
    "lines of one letter": "a\n",
    "form feeds": "a\f",
    "right to left": "\u202eabc\u202c ",
    "controls": "\x01",
    "dotted capital I": "İ",
}


def _repeated(unit: str) -> Shape:
    return lambda length: (unit * (length // len(unit) + 1))[:length]


def _between(first: str, unit: str, last: str) -> Shape:
    """The unit again and again between two others: a run that does not end as it should."""
    return lambda length: (first + _repeated(unit)(max(0, length - len(first) - len(last))) + last)[:length]


def _name(character: str) -> str:
    return unicodedata.name(character, f"U+{ord(character):04X}").lower()


def _opened_and_closed(pair: str) -> Shape:
    return lambda length: pair[0] * (length // 2) + pair[1] * (length - length // 2)


def _distinct_words(length: int) -> str:
    words = " ".join(f"{number:x}" for number in range(length // 3 + 1))
    return words[:length]


EACH_CHARACTER: Mapping[str, Shape] = {
    **{f"{_name(each)}, again and again": _between("", each, "a") for each in _PUNCTUATION},
    **{f"{_name(each)} between letters": _between("a", each, "b") for each in _SPACES + _INVISIBLE},
    **{f"{_name(each)} on a letter": _between("e", each, "b") for each in _MARKS},
}
"""Each punctuation mark, space, invisible character and mark, repeated."""

SEQUENCES: Mapping[str, Shape] = {
    **{name: _repeated(unit) for name, unit in _SEQUENCES.items()},
    **{f"{pair!r} again and again": _repeated(pair) for pair in _PAIRS},
    **{f"{pair} opened": _repeated(pair[0]) for pair in _BRACKETS},
    **{f"{pair} opened and closed": _opened_and_closed(pair) for pair in _BRACKETS},
    **{f"{pair} alternating": _repeated(pair) for pair in _BRACKETS},
    "marks out of order on a letter": _between("e", _SWAPPED_MARKS, "b"),
    "marks of many classes on a letter": _between("e", _MARKS, "天"),
    "marks in blocks out of order": lambda length: (
        "e" + "\u0301" * (length // 2) + "\u0327" * (length - length // 2 - 1)
    ),
    "full stops and a quote": _between(".", '"', "a"),
    "a full stop and blanks": _between(".", " ", "a"),
    "a line end and blanks": _between("a\n", " ", "b"),
    "lone surrogates": _repeated("\ud800"),
    "surrogates in the wrong order": _repeated("\udc00\ud800a"),
    "distinct words": _distinct_words,
}
"""What is worse than one character repeated."""

SHAPES: Mapping[str, Shape] = EACH_CHARACTER | SEQUENCES
