"""The messages between a worker and the process that works on its texts: frames of a megabyte or so, JSON mostly."""

import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import orjson

from domain.knowledge.content import Passage
from domain.shared.terms import TermCounts
from workers.documents.document import Block, BlockKind, Page, ParsedDocument

HEADER = struct.Struct(">IIB")
"""Of a frame: the length of its content, the job's number, and the kind of content.

After `LAST`, which is an `END`, the process leaves: what it has taken of memory it does not give back otherwise.
"""
PART, END, FAILED, READY, LAST = range(5)
MOST_OF_A_FRAME = 16_000_000
_PIECE_BYTES = 400_000
_PIECE_CHARACTERS = 200_000
_PIECE_ITEMS = 2_000


@dataclass(frozen=True, slots=True)
class Config:
    """What a process is started with.

    Attributes:
        parent: the process that it is to outlive by no moment.
        tokenizer: which one cuts: `minilm` or `pattern`.
        max_tokens: what the embedding model reads.
        memory_bytes: the most address space.
    """

    parent: int
    tokenizer: str
    max_tokens: int
    memory_bytes: int


def frame(number: int, kind: int, payload: bytes = b"") -> bytes:
    return HEADER.pack(len(payload), number, kind) + payload


def pieces_of(items: Iterable[bytes]) -> Iterator[bytes]:
    """Yield JSON arrays of `items`, which are JSON: as many in each as a frame should have."""
    waiting: list[bytes] = []
    octets = 0
    for item in items:
        if waiting and (octets + len(item) > _PIECE_BYTES or len(waiting) == _PIECE_ITEMS):
            yield b"[" + b",".join(waiting) + b"]"
            waiting, octets = [], 0
        waiting.append(item)
        octets += len(item)
    if waiting:
        yield b"[" + b",".join(waiting) + b"]"


def dump_passages(passages: Iterable[Passage], *, with_text: bool) -> Iterator[bytes]:
    """Yield passages as pieces; without their text the reader takes it from the source."""
    return pieces_of(orjson.dumps(_fields(each, with_text=with_text)) for each in passages)


def _fields(passage: Passage, *, with_text: bool) -> tuple[object, ...]:
    text = passage.text if with_text else None
    return passage.ordinal, passage.start, passage.end, text, passage.embedded, passage.heading_path, passage.page


def load_passages(piece: bytes, text: str | None = None) -> list[Passage]:
    """Return the passages of a piece; `text` is the source's, if they come without theirs."""
    return [
        Passage(
            ordinal=ordinal,
            start=start,
            end=end,
            text=own if text is None else text[start:end],
            embedded=embedded,
            heading_path=tuple(heading_path),
            page=page,
        )
        for ordinal, start, end, own, embedded, heading_path, page in orjson.loads(piece)
    ]


def load_terms(piece: bytes) -> list[TermCounts]:
    return [TermCounts(*each) for each in orjson.loads(piece)]


def dump_document(document: ParsedDocument, title: str) -> Iterator[bytes]:
    """Yield a parsed document as parts of a job, none of them large."""
    yield orjson.dumps({"title": title, "of_document": document.title, "media_type": document.media_type})
    for start in range(0, len(document.text), _PIECE_CHARACTERS):
        yield orjson.dumps({"text": document.text[start : start + _PIECE_CHARACTERS]})
    for start in range(0, len(document.blocks), _PIECE_ITEMS):
        blocks = document.blocks[start : start + _PIECE_ITEMS]
        yield orjson.dumps({"blocks": [(each.kind, each.start, each.end, each.level, each.title) for each in blocks]})
    for start in range(0, len(document.pages), _PIECE_ITEMS):
        pages = document.pages[start : start + _PIECE_ITEMS]
        yield orjson.dumps({"pages": [(each.number, each.start, each.end) for each in pages]})


def load_document(parts: Iterable[bytes]) -> tuple[ParsedDocument, str]:
    """Return what `dump_document` was given."""
    head: dict[str, Any] = {}
    texts: list[str] = []
    blocks: list[Block] = []
    pages: list[Page] = []
    for part in parts:
        match orjson.loads(part):
            case {"text": text}:
                texts.append(text)
            case {"blocks": some}:
                blocks += [Block(BlockKind(kind), *fields) for kind, *fields in some]
            case {"pages": some}:
                pages += [Page(*fields) for fields in some]
            case fields:
                head = fields
    document = ParsedDocument(
        title=head["of_document"],
        language=None,
        media_type=head["media_type"],
        text="".join(texts),
        blocks=tuple(blocks),
        pages=tuple(pages),
    )
    return document, head["title"]
