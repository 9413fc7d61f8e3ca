"""Bounds how deep a page nests: a parser of HTML looks at all open elements for each further one."""

import re
from collections import Counter

_TAG = re.compile(r"<(/?)([a-zA-Z][a-zA-Z0-9]*+)")
_LONGEST_ATTRIBUTES = 10_000  # of one tag; a picture may be in one, and is not read
_NEVER_NEST = frozenset(
    """
    a area base br col colgroup dd dt embed hr img input li link meta nobr option p source tbody td tfoot th thead tr
    track wbr
    """.split()  # noqa: SIM905 - reads like the standard's lists
)
"""They are empty, or the next one closes them."""
_FORMATTING = frozenset({"b", "big", "code", "em", "font", "i", "s", "small", "strike", "strong", "tt", "u"})
_DEEPEST = 128
_DEEPEST_FORMATTING = 8
"""The open ones are made anew in each paragraph; they show nothing of their own."""
_DEEPEST_TABLE = 16


def bounded(source: bytes | str) -> bytes | str:
    """Return the page without the tags that lie deeper than in any page that people wrote, and without long attributes.

    Of attributes, the parser compares each with all others of its tag.
    """
    if isinstance(source, str):
        return _bounded(source)
    return _bounded(source.decode("latin-1")).encode("latin-1")  # tags are ASCII in every encoding that pages declare


def _bounded(source: str) -> str:
    nesting = _Nesting()
    parts: list[str] = []
    done = 0
    for tag in _TAG.finditer(source):
        if tag.start() < done:
            continue
        name = tag.group(2).lower()
        stays = name in _NEVER_NEST or (nesting.close(name) if tag.group(1) else nesting.open(name))
        is_long = source.find(">", tag.end(), tag.end() + _LONGEST_ATTRIBUTES) < 0
        if is_long or not stays:
            parts.append(source[done : tag.end() if stays else tag.start()])
            done = _end_of_tag(source, tag.end())
            parts.append(">" if stays else "")
    return source if not parts else "".join([*parts, source[done:]])


def _end_of_tag(source: str, start: int) -> int:
    end = source.find(">", start)
    return end + 1 if end >= 0 else len(source)


class _Nesting:
    """The open elements, and how many of each name and kind there are."""

    def __init__(self) -> None:
        self._open: list[tuple[str, bool]] = []
        self._named: Counter[str] = Counter()
        self._kept: Counter[str] = Counter()

    def open(self, name: str) -> bool:
        """Open an element; return whether it stays."""
        kind, deepest = _kind(name)
        stays = self._kept[kind] < deepest
        self._open.append((name, stays))
        self._named[name] += 1
        self._kept[kind] += stays
        return stays

    def close(self, name: str) -> bool:
        """Close an element and all inside it; return whether its end stays, as one without a beginning does."""
        if not self._named[name]:
            return True
        while True:
            innermost, stays = self._open.pop()
            self._named[innermost] -= 1
            self._kept[_kind(innermost)[0]] -= stays
            if innermost == name:
                return stays


def _kind(name: str) -> tuple[str, int]:
    if name in _FORMATTING:
        return "formatting", _DEEPEST_FORMATTING
    return ("table", _DEEPEST_TABLE) if name == "table" else ("other", _DEEPEST)
