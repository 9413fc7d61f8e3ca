"""Puts the lines of a PDF page together again: which of them are one paragraph, which are headings."""

import re
from collections import Counter
from dataclasses import dataclass

from workers.documents.formats.pdf_lines import Line, without_hyphens

_PARAGRAPH_GAP = 0.75  # of the line's height, beyond the space that lines usually have
_USUAL_PITCH = 1.25
_SAME_SIZE = 0.08
_FULL_LINE = 0.85
_HEADING_FACTOR = 1.15
_LONGEST_HEADING = 200
_MOST_HEADING_LINES = 3
_MOST_LEVELS = 4
_LARGEST_HEADING_SHARE = 0.25
_BULLET = re.compile(r"\s*(?:[•‣▪●○◦·–—*\uf0a7\uf0b7]|-\s|\(?(?:\d{1,2}|[a-z])[.)]\s)")
_SENTENCE_ENDS = tuple(".!?:;。！？：；…")
_CLOSING = "\"'”’)]）】」』"
_WIDE = re.compile(r"[\u2e80-\u9fff\uf900-\ufaff\uff00-\uffef\U00020000-\U0003ffff]")
_LETTER = re.compile(r"[^\W\d_]")


@dataclass(frozen=True, slots=True)
class Paragraph:
    """Lines that belong together, as text.

    Attributes:
        text: soft line ends joined, the ones that the author made kept.
        size_step: the font's size in half points, to compare sizes.
        may_be_heading: whether its shape is a heading's; its size decides.
    """

    text: str
    size_step: int
    may_be_heading: bool


def body_size(pages: list[list[Line]]) -> float:
    """The size that most characters of the document have, in points."""
    sizes: Counter[int] = Counter()
    for lines in pages:
        for line in lines:
            sizes[_step(line.size)] += len(line.text)
    return sizes.most_common(1)[0][0] / 2 if sizes else 0.0


def paragraphs(lines: list[Line], body: float, vocabulary: frozenset[str]) -> list[Paragraph]:
    """Group the lines of one page."""
    groups: list[_Group] = []
    for line in lines:
        if groups and _continues(groups[-1], line):
            groups[-1].add(line)
        else:
            groups.append(_Group(line))
    return [_paragraph(group, body, vocabulary) for group in groups]


class _Group:
    """Lines of one paragraph, and the edges of all of them, which each further line asks for."""

    def __init__(self, line: Line) -> None:
        self.lines = [line]
        self._left, self._right = line.left, line.right

    def add(self, line: Line) -> None:
        self.lines.append(line)
        self._left, self._right = min(self._left, line.left), max(self._right, line.right)

    def is_full(self, line: Line) -> bool:
        """Whether `line` ends near the paragraph's right edge."""
        width = self._right - self._left
        return width <= 0 or (line.right - self._left) >= width * _FULL_LINE


def heading_levels(pages: list[list[Paragraph]], body: float) -> dict[int, int]:
    """Rank the sizes of what may be a heading, the largest first; a document that is all headings has none."""
    every = [paragraph for page in pages for paragraph in page]
    candidates = [paragraph for paragraph in every if paragraph.may_be_heading]
    letters = sum(len(paragraph.text) for paragraph in every)
    if sum(len(paragraph.text) for paragraph in candidates) > letters * _LARGEST_HEADING_SHARE:
        return {}
    steps = sorted({paragraph.size_step for paragraph in candidates}, reverse=True)
    smallest = _step(body * _HEADING_FACTOR)
    larger = [step for step in steps if step >= smallest]
    levels = {step: min(rank, _MOST_LEVELS) for rank, step in enumerate(larger, start=1)}
    below = min(len(larger), _MOST_LEVELS) + 1
    return levels | {step: below for step in steps if step < smallest}


def _continues(group: _Group, line: Line) -> bool:
    previous = group.lines[-1]
    if line.bold != previous.bold or not _same_size(previous, line):
        return _on_one_row(previous, line)
    if _BULLET.match(line.text):
        return False
    drop = previous.baseline - line.top_baseline
    if drop < -line.size:  # the next column, or the next page's head
        return not _ends_sentence(previous.text)
    if drop > line.size * (_USUAL_PITCH + _PARAGRAPH_GAP):
        return False
    return not (_ends_sentence(previous.text) and not group.is_full(previous))


def _same_size(previous: Line, line: Line) -> bool:
    """A note's mark at a line's end is small, but the text goes on."""
    return any(abs(line.size - size) <= line.size * _SAME_SIZE for size in (previous.size, previous.end_size))


def _on_one_row(previous: Line, line: Line) -> bool:
    """A bold word or a smaller note on the same row does not start a paragraph."""
    return abs(previous.baseline - line.top_baseline) < min(previous.size, line.size) / 2


def _ends_sentence(text: str) -> bool:
    return text.rstrip().rstrip(_CLOSING).endswith(_SENTENCE_ENDS)


def _paragraph(group: _Group, body: float, vocabulary: frozenset[str]) -> Paragraph:
    pieces: list[str] = []
    for index, line in enumerate(group.lines):
        text = without_hyphens(line.text, vocabulary)
        if pieces:
            pieces.append(_between(group.lines[index - 1], line, text, group))
        pieces.append(text)
    text = "".join(pieces)
    size = max(line.size for line in group.lines)
    return Paragraph(text, _step(size), _looks_like_heading(group.lines, text, size, body))


def _between(previous: Line, line: Line, text: str, group: _Group) -> str:
    """A line that stops well before the edge was ended by its author: an address, a row of a table, a verse."""
    if not _on_one_row(previous, line) and not group.is_full(previous):
        return "\n"
    last = previous.text.rstrip()[-1:]
    return "" if _WIDE.match(last) and _WIDE.match(text[:1]) else " "


def _looks_like_heading(group: list[Line], text: str, size: float, body: float) -> bool:
    if len(group) > _MOST_HEADING_LINES or len(text) > _LONGEST_HEADING or not _LETTER.search(text):
        return False
    if size >= body * _HEADING_FACTOR:
        return not text.endswith((",", ";"))
    is_bold = all(line.bold for line in group)
    return is_bold and size >= body * (1 - _SAME_SIZE) and not _ends_sentence(text)


def _step(size: float) -> int:
    return round(size * 2)
