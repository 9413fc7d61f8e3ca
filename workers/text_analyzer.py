"""The analyzer of the full-text leg: English words are stemmed, scripts without spaces become n-grams."""

import hashlib
import re
import threading
import unicodedata
from collections.abc import Collection, Iterator, Sequence
from functools import cache, lru_cache
from importlib import metadata

from workers.normal_form import MOST_MARKS, Form, marks, normalized

# PostgreSQL's `english` stop words: src/backend/snowball/stopwords/english.stop, PostgreSQL 18.
_STOP_WORDS = frozenset(
    """
    i me my myself we our ours ourselves you your yours yourself yourselves he him his himself she her hers herself it
    its itself they them their theirs themselves what which who whom this that these those am is are was were be been
    being have has had having do does did doing a an the and but if or because as until while of at by for with about
    against between into through during before after above below to from up down in out on off over under again further
    then once here there when where why how all any both each few more most other some such no nor not only own same so
    than too very s t can will just don should now
    """.split()  # noqa: SIM905 - reads like the file it was taken from
)

# Scripts written without spaces, as the inside of a character class: Thai, Lao, Myanmar, Khmer; Han with its
# extensions and radicals, kana, bopomofo, hangul.
_UNSPACED = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u1100-\u11ff"
    "\u2e80-\u2fdf\u3005-\u3007\u3021-\u3029\u3031-\u3035\u3038-\u303c\u3040-\u30fa\u30fc-\u318f\u31a0-\u31bf"
    "\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\ua960-\ua97f\uac00-\ud7ff\uf900-\ufaff"
    "\U0001aff0-\U0001b16f\U00020000-\U0003ffff"
)
_ASCII_WORD = re.compile(r"[a-z0-9]+")
# Soft hyphen, (non-)joiners, word joiner, byte order mark, variation selectors: they show nothing and part no words.
_INVISIBLES = frozenset("\u00ad\u200c\u200d\u2060\ufeff") | {
    chr(code) for code in (*range(0xFE00, 0xFE10), *range(0xE0100, 0xE01F0))
}
_INVISIBLE = re.compile("[\u00ad\u200c\u200d\u2060\ufeff\ufe00-\ufe0f\U000e0100-\U000e01ef]")
_MARK_PLANES = range(0x300, 0x20000)  # where Unicode keeps combining marks, variation selectors apart
_DOTTED_CAPITAL_I = "\u0130"  # the one character whose lower case is longer than itself

_MOST_GROWTH, _FREE_GROWTH = 1.5, 32  # of a text in characters by NFKC
_LONGEST_TERM = 64
_DIGEST_LENGTH = 16
_MOST_BEGINNINGS = 12
"""To look for more of them takes longer than to look at every word."""


class TextAnalyzer:
    """Turns text into terms; stateless, and safe in several threads.

    Text is normalised (NFKC), lower-cased and cut into words. English stop words are dropped and words stemmed
    (Snowball's `english`); words with digits stay as they are. A run of a script without spaces gives each character
    and each pair of neighbours. A word longer than 64 characters is cut and ends in a digest of the whole. A text that
    NFKC would make half as long again keeps its characters (NFC): some of them stand for eighteen.
    """

    @property
    def identity(self) -> str:
        """What changes whenever the same text may give other terms; an index generation carries it."""
        stemmer = metadata.version("snowballstemmer")
        return f"english-unspaced@2+snowball{stemmer}+unicode{unicodedata.unidata_version}"

    def terms(self, text: str) -> list[str]:
        """Return the terms of `text` in order, repeated as often as they occur."""
        if text.isascii():
            return [term for word in _ASCII_WORD.findall(text.lower()) if (term := _english_term(word)) is not None]
        return [term for term, _, _ in _terms_of(_lowered(_normalized(text)[1]))]

    def spans_of(self, terms: Collection[str], text: str) -> list[tuple[int, int]]:
        """Return (start, end) of each of `terms` in `text`: character offsets into it as it was given."""
        if text.isascii():
            lowered = text.lower()
            return sorted(
                span
                for beginning in _beginnings(terms)
                for word, span in _words_from(beginning, lowered)
                if _english_term(word) in terms
            )
        lowered, starts, ends = _aligned(text)
        return [(starts[start], ends[end - 1]) for term, start, end in _terms_of(lowered) if term in terms]


def _beginnings(terms: Collection[str]) -> Sequence[str]:
    """Return what the words of `terms` begin with, none of which begins with another one; "" where there are many."""
    apart: list[str] = []
    for beginning in sorted({_beginning(term) for term in terms}):
        if not apart or not beginning.startswith(apart[-1]):
            apart.append(beginning)
    return apart if len(apart) <= _MOST_BEGINNINGS else [""]


def _beginning(term: str) -> str:
    """Return what every word of `term` begins with: stemming replaces the end, as in happy, happi; dying, die."""
    kept = len(term) - (2 if term.endswith("ie") else 1)
    return term[: max(1, min(kept, _LONGEST_TERM - _DIGEST_LENGTH))]


def _words_from(beginning: str, lowered: str) -> Iterator[tuple[str, tuple[int, int]]]:
    """Yield the words that begin so, and where each is, without looking at the others."""
    start = lowered.find(beginning)
    while start >= 0:
        end = start + 1
        if not lowered[start - 1 : start].isalnum() and (found := _ASCII_WORD.match(lowered, start)) is not None:
            end = found.end()
            yield found.group(), (start, end)
        start = lowered.find(beginning, end)


def _normalized(text: str) -> tuple[Form, str]:
    """Return the form that the text is analysed in, and the text in it without its invisible characters."""
    visible = _INVISIBLE.sub("", text)
    compatible = normalized("NFKC", visible)
    if len(compatible) <= len(visible) * _MOST_GROWTH + _FREE_GROWTH:
        return "NFKC", compatible
    return "NFC", normalized("NFC", visible)


def _lowered(normalized: str) -> str:
    """Return `normalized` in lower case, of the same length; both forms of the small sigma become one."""
    return normalized.replace(_DOTTED_CAPITAL_I, "i").lower().replace("ς", "σ")


def _terms_of(lowered: str) -> Iterator[tuple[str, int, int]]:
    for match in _run_pattern().finditer(lowered):
        start, end = match.span()
        if match.lastgroup == "unspaced":
            yield from _grams(lowered, start, end)
        elif (term := _english_term(match.group())) is not None:
            yield term, start, end


def _grams(text: str, start: int, end: int) -> Iterator[tuple[str, int, int]]:
    for position in range(start, end):
        yield text[position], position, position + 1
        if position + 2 <= end:
            yield text[position : position + 2], position, position + 2


@cache
def _run_pattern() -> re.Pattern[str]:
    combining = _combining_marks()
    spaced = rf"[^\W_{_UNSPACED}]"
    # Possessive: `re` would keep a way back from each character of a word of a million.
    return re.compile(rf"(?P<unspaced>[{_UNSPACED}]++)|{spaced}(?:{spaced}++|[{combining}]++)*+")


def _combining_marks() -> str:
    """Return all combining marks as the inside of a character class: to `re` they are no word characters."""
    characters = map(chr, _MARK_PLANES)
    return "".join(character for character in characters if unicodedata.category(character).startswith("M"))


def _english_term(word: str) -> str | None:
    """Return the term of a lower-cased word, or None for a stop word."""
    return _short_term(word) if len(word) <= _LONGEST_TERM else _bounded(word)


@lru_cache(maxsize=131_072)
def _short_term(word: str) -> str | None:
    if word in _STOP_WORDS:
        return None
    return _stem(word) if word.isalpha() else word


def _bounded(word: str) -> str:
    """Return a term of a word that is too long to be one; it is not cached, since it may be a million characters."""
    digest = hashlib.blake2b(word.encode(), digest_size=_DIGEST_LENGTH // 2).hexdigest()
    return word[: _LONGEST_TERM - _DIGEST_LENGTH] + digest


class _Stemmer(threading.local):
    """One Snowball stemmer per thread: it keeps the word that it works on in its attributes."""

    def __init__(self) -> None:
        import snowballstemmer

        self.english = snowballstemmer.stemmer("english")


@cache
def _stemmer() -> _Stemmer:
    return _Stemmer()


def _stem(word: str) -> str:
    stem: str = _stemmer().english.stemWord(word)
    return stem


def _aligned(text: str) -> tuple[str, list[int], list[int]]:
    """Return the normalised, lower-cased text and, for each of its characters, where it starts and ends in `text`."""
    form, whole = _normalized(text)
    if whole == text:
        return _lowered(text), list(range(len(text))), list(range(1, len(text) + 1))
    parts: list[str] = []
    starts: list[int] = []
    ends: list[int] = []
    for start, end, characters in _groups(text, form):
        parts.append(characters)
        starts.extend([start] * len(characters))
        ends.extend([end] * len(characters))
    return _lowered("".join(parts)), starts, ends


def _groups(text: str, form: Form) -> Iterator[tuple[int, int, str]]:
    """Yield (start, end, normal form) of the smallest parts of `text` that normalise independently of each other.

    A group has 32 marks in a row at the most, as many as are put in order together.
    """
    start, group, marks_in_row = 0, "", 0
    combining = marks()
    for position, character in enumerate(text):
        if character in _INVISIBLES:
            start = start if group else position + 1
            continue
        is_mark = character in combining
        if group and not (marks_in_row < MOST_MARKS if is_mark else _joins(group, character, form)):
            yield start, position, unicodedata.normalize(form, group)
            start, group = position, ""
            marks_in_row = 0
        group += character
        marks_in_row = marks_in_row + 1 if is_mark else 0
    if group:
        yield start, len(text), unicodedata.normalize(form, group)


def _joins(group: str, character: str, form: Form) -> bool:
    """Whether `character`, no mark, may compose with `group`, so that the two must be normalised together."""
    if character.isascii():
        return False
    apart = unicodedata.normalize(form, group) + unicodedata.normalize(form, character)
    return unicodedata.normalize(form, group + character) != apart
