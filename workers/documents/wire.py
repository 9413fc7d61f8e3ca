"""The JSON in which the parsing process gets its request and gives its answer."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from workers.documents.document import Block, BlockKind, Page, ParsedDocument
from workers.documents.limits import ParserLimits
from workers.documents.rejection import DocumentRejected, Reason

_LETTERS = {kind: kind.value[0] for kind in BlockKind}
_KINDS = {letter: kind for kind, letter in _LETTERS.items()}
READY = b"ready\n"
"""Written once the process stands and has opened the file: what fails later is the document's doing."""


@dataclass(frozen=True, slots=True)
class ParseRequest:
    """What the parsing process is told; nothing else reaches it."""

    path: str
    filename: str
    declared_media_type: str
    limits: ParserLimits


@dataclass(frozen=True, slots=True)
class Crash:
    """A parser's own fault: what was raised and where, without any of the document's words."""

    where: str


def dump_request(request: ParseRequest) -> bytes:
    """Return the request as the child reads it from its standard input."""
    return orjson.dumps(request)


def load_request(raw: bytes) -> ParseRequest:
    """Return what `dump_request` wrote."""
    fields = orjson.loads(raw)
    return ParseRequest(**{**fields, "limits": ParserLimits(**fields["limits"])})


def dump_answer(answer: ParsedDocument | DocumentRejected | Crash) -> bytes:
    """Return an outcome as the child writes it."""
    match answer:
        case ParsedDocument():
            document = {
                "title": answer.title,
                "media_type": answer.media_type,
                "text": answer.text,
                "pages": answer.pages,
            }
            return orjson.dumps({"document": document, "blocks": _columns(answer.blocks)})
        case DocumentRejected():
            return orjson.dumps({"rejected": {"reason": answer.reason, "sentence": answer.sentence}})
        case Crash():
            return orjson.dumps({"crash": answer})


def load_answer(raw: bytes) -> ParsedDocument | DocumentRejected | Crash:
    """Return what `dump_answer` wrote.

    Raises:
        ValueError: the answer was cut off or is none.
    """
    fields = orjson.loads(raw)
    match fields:
        case {"document": document, "blocks": columns}:
            return _document(document, columns)
        case {"rejected": {"reason": reason, "sentence": sentence}}:
            return DocumentRejected(Reason(reason), sentence)
        case {"crash": {"where": where}}:
            return Crash(where)
        case _:
            raise ValueError("the parsing process answered something unknown")


def _columns(blocks: Sequence[Block]) -> dict[str, object]:
    """Return blocks in a few bytes each: a text of single letters has as many blocks as lines.

    `gaps` are the characters between a block and the one before, `headings` are (number, level, title) of those.
    """
    ends = [0, *(block.end for block in blocks)]
    return {
        "kinds": "".join(_LETTERS[block.kind] for block in blocks),
        "gaps": [block.start - end for block, end in zip(blocks, ends, strict=False)],
        "lengths": [block.end - block.start for block in blocks],
        "headings": [
            (number, block.level, block.title) for number, block in enumerate(blocks) if block.level or block.title
        ],
    }


def _blocks(columns: dict[str, Any]) -> Iterator[Block]:
    headings = {number: (level, title) for number, level, title in columns["headings"]}
    start = end = 0
    parts = zip(columns["kinds"], columns["gaps"], columns["lengths"], strict=True)
    for number, (letter, gap, length) in enumerate(parts):
        start, end = end + gap, end + gap + length
        yield Block(_KINDS[letter], start, end, *headings.get(number, ()))


def _document(fields: dict[str, object], columns: dict[str, Any]) -> ParsedDocument:
    match fields:
        case {"title": str(title), "media_type": str(media_type), "text": str(text), "pages": list(pages)}:
            return ParsedDocument(
                title=title,
                language=None,
                media_type=media_type,
                text=text,
                blocks=tuple(_blocks(columns)),
                pages=tuple(Page(**page) for page in pages),
            )
        case _:
            raise ValueError("the parsing process answered a document without its parts")
