"""The lines of a PDF page with their place and size, as PDFium orders them."""

import ctypes
import re
from dataclasses import dataclass

import pypdfium2
import pypdfium2.raw as pdfium

from workers.documents.cleaning import one_line

HYPHEN = "\ufffe"  # PDFium's mark for a hyphen at the end of a line, whose line break it has removed
_TEX_LIGATURES = {"\x0b": "ff", "\x0c": "fi", "\x0e": "ffi", "\x0f": "ffl"}
_TEX_LIGATURE = re.compile(r"(?<=[a-z])[\x0b\x0c\x0e\x0f](?=[a-z])")
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f]")
_LARGEST_CONTROL_SHARE = 0.3
_SEMIBOLD = 600  # as CSS counts
_BREAK = re.compile(r"\r\n?|\n")
_WORD = re.compile(r"[^\W\d_]++(?:-[^\W\d_]++)*+")
_LONGEST_WORD = 200  # of letters that hyphens have parted: it is looked up again at each of them
_RIGHT_TO_LEFT = re.compile(r"[\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufefc]{2,}")


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a page, or several that hyphens tie together; lengths are in points, y grows upwards.

    Attributes:
        text: with `HYPHEN` where a word was broken.
        left: the first glyph's left edge.
        right: the last glyph's right edge.
        top_baseline: the bottom of the first glyph's box.
        baseline: the bottom of the last glyph's box.
        size: the height of the font's box at the first glyph.
        end_size: the same at the last glyph.
        bold: whether the first and the last glyph are.
    """

    text: str
    left: float
    right: float
    top_baseline: float
    baseline: float
    size: float
    end_size: float
    bold: bool


def page_lines(page: pypdfium2.PdfPage) -> list[Line]:
    """Return the lines of `page` in PDFium's reading order, blank ones left out.

    Raises:
        PdfiumError: the page's text cannot be loaded.
    """
    textpage = page.get_textpage()
    try:
        text = textpage.get_text_range()
        lines = []
        start = 0
        for end, following in _line_ends(text):
            lines.append(_line(textpage.raw, text[start:end], start))
            start = following
        return [line for line in lines if line is not None]
    finally:
        textpage.close()


def words_of(pages: list[list[Line]]) -> frozenset[str]:
    """The words that the document writes in one line, hyphenated ones included, in lower case.

    Empty when no line ends with a hyphen: then nobody asks.
    """
    if not any(HYPHEN in line.text for lines in pages for line in lines):
        return frozenset()
    return frozenset(
        word.lower()
        for lines in pages
        for line in lines
        for part in line.text.split(HYPHEN)
        for word in _WORD.findall(part)
    )


def _line_ends(text: str) -> list[tuple[int, int]]:
    ends = [(match.start(), match.end()) for match in _BREAK.finditer(text)]
    return [*ends, (len(text), len(text))]


def _line(textpage: object, text: str, start: int) -> Line | None:
    first = next((index for index, character in enumerate(text) if not character.isspace()), None)
    if first is None or len(_CONTROL.findall(text)) > len(text) * _LARGEST_CONTROL_SHARE:
        return None  # glyphs without a Unicode value: a picture of text, as far as anyone can tell
    last = len(text.rstrip()) - 1
    text = _TEX_LIGATURE.sub(lambda match: _TEX_LIGATURES[match.group()], text)
    head, tail = _index(textpage, start + first), _index(textpage, start + last)
    box, end = _box(textpage, head), _box(textpage, tail)
    return Line(
        text=_in_logical_order(textpage, text, start),
        left=box.left,
        right=max(box.right, end.right),
        top_baseline=box.bottom,
        baseline=end.bottom,
        size=box.top - box.bottom,
        end_size=end.top - end.bottom,
        bold=_is_bold(textpage, head) and _is_bold(textpage, tail),
    )


def _is_bold(textpage: object, index: int) -> bool:
    weight: int = pdfium.FPDFText_GetFontWeight(textpage, index)
    return weight >= _SEMIBOLD


def _index(textpage: object, text_index: int) -> int:
    """Characters that PDFium keeps but does not return shift the index."""
    index: int = pdfium.FPDFText_GetCharIndexFromTextIndex(textpage, text_index)
    return max(index, 0)


def _box(textpage: object, index: int) -> pdfium.FS_RECTF:
    rectangle = pdfium.FS_RECTF()
    pdfium.FPDFText_GetLooseCharBox(textpage, index, rectangle)
    return rectangle


def _in_logical_order(textpage: object, text: str, start: int) -> str:
    """Undo PDFium's reversal of Arabic and Hebrew where the file had them in logical order already.

    Read from right to left, a run's glyphs must advance to the left. A run that is one glyph has one origin.
    """
    pieces, done = [], 0
    for match in _RIGHT_TO_LEFT.finditer(text):
        first, last = start + match.start(), start + match.end() - 1
        is_reversed = _origin(textpage, last) >= _origin(textpage, first)
        pieces += [text[done : match.start()], match.group()[::-1] if is_reversed else match.group()]
        done = match.end()
    return text if not pieces else "".join([*pieces, text[done:]])


def _origin(textpage: object, text_index: int) -> float:
    x, y = ctypes.c_double(), ctypes.c_double()
    pdfium.FPDFText_GetCharOrigin(textpage, _index(textpage, text_index), x, y)
    return x.value


def without_hyphens(text: str, vocabulary: frozenset[str]) -> str:
    """Join the words that were broken at a line's end, and keep the hyphen of those that are written with one.

    The document itself decides: ``table-`` + ``text`` stays ``table-text`` where it is written so elsewhere.
    """
    first, *rest = text.split(HYPHEN)
    parts, before = [first], first
    for part in rest:
        before, after = before.rstrip()[-_LONGEST_WORD:], part.lstrip()
        hyphen = _hyphen_between(before, after, vocabulary)
        parts[-1] = parts[-1].rstrip()
        parts += (hyphen, after)
        before = f"{before}{hyphen}{after}"
    return one_line("".join(parts))


def _hyphen_between(before: str, after: str, vocabulary: frozenset[str]) -> str:
    head, tail = _last_word(before), _first_word(after)
    if not head or not tail or not tail[0].islower():
        return "-"
    if (head + tail).lower() in vocabulary:
        return ""
    return "-" if f"{head}-{tail}".lower() in vocabulary else ""


def _last_word(text: str) -> str:
    """A word reads the same from its end: letters, and hyphens between them."""
    return _first_word(text[::-1])[::-1]


def _first_word(text: str) -> str:
    match = _WORD.match(text)
    return match.group() if match else ""
