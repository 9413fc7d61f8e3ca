"""Chooses a title that reads like one: metadata if plausible, else the first heading, else the file's name."""

import re
from collections.abc import Sequence
from pathlib import PurePosixPath

from workers.documents.cleaning import one_line
from workers.documents.document import Block

_LONGEST = 200
_SHORTEST = 2
_NEAR_START = 20
_PLACEHOLDER = re.compile(
    r"((table of )?contents|index|abstract|目录|目次|摘要"
    r"|\(?(untitled|anonymous|unknown|no title|none|null|title|document|presentation|word document|无标题)\)?\s*\d*"
    r"|microsoft (word|powerpoint|excel)\b.*"
    r"|(doi|urn|isbn|issn|arxiv)\s*:.*|10\.\d{4,}/\S+"
    r"|\S+\.(docx?|pdf|tex|dvi|indd|qxd|rtf|odt|txt|html?|exe|ps|pptx?|xlsx?|fm|pmd))",
    re.IGNORECASE,
)


def choose_title(metadata: str | None, blocks: Sequence[Block], filename: str) -> str:
    """Return a title of one line, never empty and at most 200 characters long.

    Generators leave file names, identifiers and placeholders in the metadata: those are passed over.
    """
    stem = _from_filename(filename)
    declared = one_line(metadata or "")
    if _from_filename(declared) == stem:
        declared = ""
    candidates = (declared, *_leading_headings(blocks), stem)
    chosen = next((text for text in candidates if _is_plausible(text)), None)
    return (chosen or one_line(filename) or "Document")[:_LONGEST]


def _leading_headings(blocks: Sequence[Block]) -> list[str]:
    """The headings near the start, the most important level first: a banner may stand above the title."""
    headings = [block for block in blocks[:_NEAR_START] if block.title]
    return [block.title for block in sorted(headings, key=lambda block: block.level)]


def _is_plausible(text: str) -> bool:
    if not _SHORTEST <= len(text) <= _LONGEST or _PLACEHOLDER.fullmatch(text):
        return False
    return sum(map(str.isalpha, text)) * 2 >= len(text.replace(" ", ""))


def _from_filename(filename: str) -> str:
    stem = PurePosixPath(filename.replace("\\", "/")).stem
    return one_line(re.sub(r"[_\s]+", " ", stem))
