"""Reads plain text and CSV: paragraphs are what empty lines separate."""

import re

from workers.documents.builder import require_room
from workers.documents.cleaning import clean
from workers.documents.detection import MediaType, not_text
from workers.documents.document import Block, BlockKind, ParsedDocument
from workers.documents.encoding import decode
from workers.documents.limits import ParserLimits
from workers.documents.titles import choose_title

_PARAGRAPH = re.compile(r"[^\s](?:.*?[^\s])?(?=\s*\n[ \t]*\n|\s*\Z)", re.DOTALL)


def decode_clean(content: bytes, limits: ParserLimits) -> str:
    """Return the clean text of a text file.

    Raises:
        DocumentRejected: unsupported_format when it is no text, too_large when it is too much.
    """
    text = decode(content)
    if text is None:
        raise not_text()
    require_room(len(text), limits)
    return clean(text)


def parse_plain_text(content: bytes, filename: str, limits: ParserLimits) -> ParsedDocument:
    """Read a text file; its text is the file's, cleaned."""
    text = decode_clean(content, limits)
    blocks = tuple(Block(BlockKind.PARAGRAPH, match.start(), match.end()) for match in _PARAGRAPH.finditer(text))
    return ParsedDocument(choose_title(None, blocks, filename), None, MediaType.PLAIN, text, blocks)


def parse_csv(content: bytes, filename: str, limits: ParserLimits) -> ParsedDocument:
    """Read a table of values as its source: one block, which the chunker splits between lines."""
    text = decode_clean(content, limits).strip()
    blocks = (Block(BlockKind.TABLE, 0, len(text)),) if text else ()
    return ParsedDocument(choose_title(None, blocks, filename), None, MediaType.CSV, text, blocks)
