"""Makes text safe to store and plain to read, before any offset into it is taken."""

import re

from workers.normal_form import normalized

_LIGATURES = {0xFB00: "ff", 0xFB01: "fi", 0xFB02: "fl", 0xFB03: "ffi", 0xFB04: "ffl", 0xFB05: "st", 0xFB06: "st"}
_LINE_ENDS = {0x0B: "\n", 0x0C: "\n", 0x85: "\n", 0x2028: "\n", 0x2029: "\n"}
_CONTROLS = {code: " " for code in (*range(1, 0x20), *range(0x7F, 0xA0)) if chr(code) not in "\t\n"}
_INVISIBLE = dict.fromkeys((0x00, 0xAD, 0x200B, 0x2060, 0xFEFF, 0xFFFE, 0xFFFF))
_SYMBOL_BULLETS = dict.fromkeys((0xF0A7, 0xF0B7), "•")
_TABLE: dict[int, str | None] = {
    0xA0: " ",
    **_CONTROLS,
    **_LINE_ENDS,
    **_LIGATURES,
    **_INVISIBLE,
    **_SYMBOL_BULLETS,
}
_SURROGATE = re.compile("[\ud800-\udfff]")
_BLANKS = re.compile(r"[ \t]+")
# From the first blank of a run only: from each of them it would be the square of the run's length.
_BLANKS_AT_LINE_END = re.compile(r"(?<![ \t])[ \t]++(?=\n|\Z)")
_MANY_EMPTY_LINES = re.compile(r"\n{3,}")


def clean(text: str) -> str:
    """Return `text` in NFC with line feeds as its only line ends and nothing that PostgreSQL or a reader stumbles over.

    NUL, lone surrogates, soft hyphens and byte order marks disappear; other control characters become blanks. Latin
    ligatures are spelled out. NFKC is not applied: it would turn ``x²`` into ``x2`` and ``½`` into ``1⁄2``.
    """
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    text = _SURROGATE.sub("\ufffd", text.translate(_TABLE))
    text = normalized("NFC", text)
    return _MANY_EMPTY_LINES.sub("\n\n", _BLANKS_AT_LINE_END.sub("", text))


def one_line(text: str) -> str:
    """Return the cleaned text with every run of white space as one blank."""
    return " ".join(clean(text).split())


def squeeze(text: str) -> str:
    """Return the cleaned text with runs of blanks as one, its lines kept."""
    return "\n".join(line.strip() for line in _BLANKS.sub(" ", clean(text)).split("\n")).strip()
