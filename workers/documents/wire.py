"""The JSON in which the parsing process gets its request and gives its answer."""

from dataclasses import dataclass

import orjson

from workers.documents.document import Block, BlockKind, Page, ParsedDocument
from workers.documents.limits import ParserLimits
from workers.documents.rejection import DocumentRejected, Reason

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
            return orjson.dumps({"document": answer})
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
        case {"document": document}:
            return _document(document)
        case {"rejected": {"reason": reason, "sentence": sentence}}:
            return DocumentRejected(Reason(reason), sentence)
        case {"crash": {"where": where}}:
            return Crash(where)
        case _:
            raise ValueError("the parsing process answered something unknown")


def _document(fields: dict[str, object]) -> ParsedDocument:
    match fields:
        case {
            "title": str(title),
            "media_type": str(media_type),
            "text": str(text),
            "blocks": list(blocks),
            "pages": list(pages),
        }:
            return ParsedDocument(
                title=title,
                language=None,
                media_type=media_type,
                text=text,
                blocks=tuple(Block(**{**block, "kind": BlockKind(block["kind"])}) for block in blocks),
                pages=tuple(Page(**page) for page in pages),
            )
        case _:
            raise ValueError("the parsing process answered a document without its parts")
