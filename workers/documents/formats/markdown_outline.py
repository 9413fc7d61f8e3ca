"""Finds the outermost blocks of a Markdown file by one look at each line.

It takes over where a full parser would be busy too long: files of very many very short lines, or of containers within
containers. What it finds differs from CommonMark where only the inside of a list or a quotation tells where it ends.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from workers.documents.document import BlockKind

_FENCE = re.compile(r" {0,3}(`{3,}+(?!.*`)|~{3,}+)")
_HEADING = re.compile(r" {0,3}(#{1,6}+)(?=[ \t]|$)")
_UNDERLINE = re.compile(r" {0,3}(?:=++|-++)[ \t]*+$")
_RULE = re.compile(r" {0,3}([-*_])[ \t]*+(?:\1[ \t]*+){2,}+$")
_ITEM = re.compile(r" {0,3}(?:[-+*]|\d{1,9}+[.)])(?=[ \t]|$)")
_QUOTATION = re.compile(r" {0,3}>")
_INDENTED = re.compile(r" {4}| {0,3}\t")
_INSIDE_ITEM = re.compile(r" {2}| ?\t")
_OF_DELIMITERS = frozenset("|-: \t")


@dataclass(frozen=True, slots=True)
class Outlined:
    """A block from its first line to its end, exclusive; a heading has a level and a title."""

    kind: BlockKind
    first: int
    end: int
    level: int = 0
    title: str = ""


def outline(lines: Sequence[str]) -> Iterator[Outlined]:
    """Yield the blocks of a file in order; rules and blank lines are in none."""
    number = 0
    while number < len(lines):
        line = lines[number]
        if not line.strip() or _RULE.match(line):
            number += 1
            continue
        block = _block(lines, number)
        yield block
        number = block.end


def _block(lines: Sequence[str], first: int) -> Outlined:
    line = lines[first]
    if heading := _HEADING.match(line):
        return Outlined(BlockKind.HEADING, first, first + 1, len(heading[1]), _title(line[heading.end() :]))
    if fence := _FENCE.match(line):
        return Outlined(BlockKind.CODE, first, _end_of_fence(lines, first + 1, fence[1]))
    if _INDENTED.match(line):
        return Outlined(BlockKind.CODE, first, _end_of_run(lines, first + 1, _INDENTED))
    if _ITEM.match(line):
        return Outlined(BlockKind.LIST, first, _end_of_list(lines, first + 1))
    if _QUOTATION.match(line):
        return Outlined(BlockKind.PARAGRAPH, first, _end_of_quotation(lines, first + 1))
    if _is_table(lines, first):
        return Outlined(BlockKind.TABLE, first, _end_of_text(lines, first + 2))
    return _paragraph(lines, first)


def _paragraph(lines: Sequence[str], first: int) -> Outlined:
    end = _end_of_text(lines, first + 1)
    if end < len(lines) and _UNDERLINE.match(lines[end]):
        level = 1 if "=" in lines[end] else 2
        return Outlined(BlockKind.HEADING, first, end + 1, level, " ".join(" ".join(lines[first:end]).split()))
    return Outlined(BlockKind.PARAGRAPH, first, end)


def _title(text: str) -> str:
    """Return a heading's words without the number signs that may close it."""
    stripped = text.strip()
    opened = stripped.rstrip("#")
    return " ".join((opened if opened[-1:] in ("", " ", "\t") else stripped).split())


def _end_of_fence(lines: Sequence[str], number: int, fence: str) -> int:
    for end in range(number, len(lines)):
        closing = lines[end].strip()
        if len(closing) >= len(fence) and not closing.strip(fence[0]):
            return end + 1
    return len(lines)


def _end_of_run(lines: Sequence[str], number: int, pattern: re.Pattern[str]) -> int:
    """The line after the last one that matches, blank ones between them."""
    end = number
    while number < len(lines) and (pattern.match(lines[number]) or not lines[number].strip()):
        number += 1
        end = number if lines[number - 1].strip() else end
    return end


def _end_of_list(lines: Sequence[str], number: int) -> int:
    """An empty line ends a list unless more of it follows: an item, or what is indented."""
    end, is_after_blank = number, False
    while number < len(lines):
        line = lines[number]
        if not line.strip():
            is_after_blank = True
        elif _RULE.match(line):
            return end
        elif _ITEM.match(line) or _INSIDE_ITEM.match(line) or not (is_after_blank or _interrupts(line)):
            end, is_after_blank = number + 1, False
        else:
            return end
        number += 1
    return end


def _end_of_text(lines: Sequence[str], number: int) -> int:
    while number < len(lines) and lines[number].strip():
        line = lines[number]
        if _interrupts(line) or _UNDERLINE.match(line) or _ITEM.match(line):
            return number
        number += 1
    return number


def _end_of_quotation(lines: Sequence[str], number: int) -> int:
    while number < len(lines) and (
        _QUOTATION.match(lines[number]) or (lines[number].strip() and not _interrupts(lines[number]))
    ):
        number += 1
    return number


def _interrupts(line: str) -> bool:
    """Whether a line ends the paragraph before it."""
    return line.lstrip(" ")[:1] in "#`~>*-_" and any(
        pattern.match(line) for pattern in (_HEADING, _FENCE, _QUOTATION, _RULE)
    )


def _is_table(lines: Sequence[str], first: int) -> bool:
    if "|" not in lines[first] or first + 1 == len(lines):
        return False
    delimiters = lines[first + 1]
    return "-" in delimiters and "|" in delimiters and _OF_DELIMITERS.issuperset(delimiters)
