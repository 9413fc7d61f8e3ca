"""Turns the bytes of a text file into characters, whatever encoding they are in."""

import codecs
import re
import unicodedata

_BYTE_ORDER_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
# What `charset_normalizer` may name for a short Western text instead of the encoding that nearly all of them have.
_CENTRAL_EUROPEAN = frozenset({"cp1250", "iso8859_2"})
_WESTERN = "cp1252"
_LARGEST_CONTROL_SHARE = 0.02
_FEW_CONTROLS = 2
_VALID_PER_BROKEN = 10  # other encodings hardly ever form valid UTF-8 sequences by chance
_SAMPLE_BYTES = 64 * 1024
_ASCII_CONTROL = re.compile(rb"[\x00-\x08\x0e-\x1a\x1c-\x1f\x7f]")
_SMALLEST_NUL_SHARE = 0.2
_CONTROL = re.compile(r"[\x00-\x08\x0e-\x1a\x1c-\x1f\x7f-\x9f\ufffe\uffff\ue000-\uf8ff]")


def decode(content: bytes) -> str | None:
    """Return the text of `content`, or None when it is no text in any encoding that is known here."""
    for mark, encoding in _BYTE_ORDER_MARKS:
        if content.startswith(mark):
            return content.decode(encoding, errors="replace")
    unmarked = _unmarked_utf16(content)
    if unmarked is not None:
        return unmarked
    controls = len(_ASCII_CONTROL.findall(content))
    if controls > max(_FEW_CONTROLS, len(content) * _LARGEST_CONTROL_SHARE):
        return None
    text = content.decode("utf-8", errors="replace")
    broken = text.count("\ufffd")
    if broken == 0 or broken * _VALID_PER_BROKEN <= sum(map(_is_foreign, text)):
        return text
    return _legacy(content)


def is_utf8_text(content: bytes) -> bool:
    """Say whether `content` is UTF-8 without control characters: the one encoding that is recognised beyond doubt."""
    if _ASCII_CONTROL.search(content):
        return False
    try:
        content.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _unmarked_utf16(content: bytes) -> str | None:
    """UTF-16 without a mark shows as NUL in every other byte wherever the text is Latin."""
    sample = content[: _SAMPLE_BYTES & ~1]
    if len(content) % 2 or len(sample) < 2:  # noqa: PLR2004 - one UTF-16 unit
        return None
    even, odd = sample[0::2].count(0), sample[1::2].count(0)
    half = len(sample) / 2
    encoding = None
    if odd > half * _SMALLEST_NUL_SHARE and even < odd / 10:
        encoding = "utf-16-le"
    elif even > half * _SMALLEST_NUL_SHARE and odd < even / 10:
        encoding = "utf-16-be"
    if encoding is None:
        return None
    text = content.decode(encoding, errors="replace")
    return text if _is_writing(text) else None


def _is_foreign(character: str) -> bool:
    return "\x7f" < character != "\ufffd"


def _legacy(content: bytes) -> str | None:
    text = content.decode(_guess(content), errors="replace")
    return text if _is_writing(text) else None


def _guess(content: bytes) -> str:
    from charset_normalizer import from_bytes

    best = from_bytes(content[:_SAMPLE_BYTES]).best()
    if best is None or (_is_latin(str(best)) and best.encoding not in _CENTRAL_EUROPEAN):
        return _WESTERN
    return best.encoding


def _is_latin(text: str) -> bool:
    foreign = [character for character in text if character.isalpha() and not character.isascii()]
    return all("LATIN" in unicodedata.name(character, "") for character in foreign)


def _is_writing(text: str) -> bool:
    return len(_CONTROL.findall(text)) + text.count("\ufffd") <= len(text) * _LARGEST_CONTROL_SHARE
