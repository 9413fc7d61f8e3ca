"""What a parser gives back: the whole text of a document, and its structure as offsets into that text."""

from dataclasses import dataclass
from enum import StrEnum


class BlockKind(StrEnum):
    """What a block of a document is."""

    HEADING = "heading"
    PARAGRAPH = "paragraph"
    LIST = "list"
    TABLE = "table"
    CODE = "code"


@dataclass(frozen=True, slots=True)
class Block:
    """A piece of a document's structure.

    Attributes:
        kind: what the block is.
        start: where it starts in the document's text.
        end: where it ends, exclusive.
        level: 1 to 6 for a heading, 0 for everything else.
        title: a heading's words without markup, empty for everything else.
    """

    kind: BlockKind
    start: int
    end: int
    level: int = 0
    title: str = ""


@dataclass(frozen=True, slots=True)
class Page:
    """Where a page lies in the document's text; an empty page starts where it ends."""

    number: int
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class ParsedDocument:
    """The text of a document and where its parts are.

    Attributes:
        title: from the metadata when plausible, else the first heading, else the file's name.
        language: ISO 639-1, or None when unsure.
        media_type: found in the content, whatever the sender declared.
        text: everything that was read, without NUL characters and lone surrogates.
        blocks: in the order of the text; they do not overlap, and only separators lie between them.
        pages: of a PDF; empty for formats without pages.
    """

    title: str
    language: str | None
    media_type: str
    text: str
    blocks: tuple[Block, ...]
    pages: tuple[Page, ...] = ()
