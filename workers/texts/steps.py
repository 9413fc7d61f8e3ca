"""What the process does with texts: a job's kind is the name of its step. Answers come in pieces of a frame each."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import orjson

from domain.knowledge.content import Passage
from domain.shared.terms import counted
from domain.shared.text import Tokenizer
from workers.passages import PassageCutter
from workers.text_analyzer import TextAnalyzer
from workers.texts.tokens import PiecewiseTokenizer
from workers.texts.wire import dump_passages, load_document, pieces_of

Step = Callable[[Sequence[bytes]], Iterator[bytes]]
"""Takes the parts of a job, and yields the pieces of its answer."""
_PIECE_BYTES = 500_000
# A content is one JSON object, with a passage in each line: a reader need not have all of it in memory.
_BETWEEN = b',\n"passages":[\n'
_AFTER = b"\n]}"


def steps(tokenizer: str, max_tokens: int) -> Mapping[str, Step]:
    """Return every step, by name."""
    cutter = PassageCutter(PiecewiseTokenizer(tokenizer_of(tokenizer)), max_tokens)
    return {
        "entry": lambda parts: _entry(cutter, *orjson.loads(parts[0])),
        "terms": lambda parts: _terms([text for part in parts for text in orjson.loads(part)]),
        "content": lambda parts: _content(cutter, parts),
        "stored": lambda parts: _stored(orjson.loads(parts[0])),
    }


def tokenizer_of(name: str) -> Tokenizer:
    """Return the tokenizer `name`: `minilm`, or `pattern`."""
    from workers.embedding.tokenizer import PatternTokenizer, WordPieceTokenizer

    return WordPieceTokenizer.of_minilm() if name == "minilm" else PatternTokenizer()


def _entry(cutter: PassageCutter, name: str, description: str) -> Iterator[bytes]:
    return dump_passages(cutter.of_entry(name, description), with_text=False)


def _terms(texts: Sequence[str]) -> Iterator[bytes]:
    analyzer = TextAnalyzer()
    return pieces_of(orjson.dumps(tuple(counted(analyzer.terms(text)))) for text in texts)


def _content(cutter: PassageCutter, parts: Sequence[bytes]) -> Iterator[bytes]:
    """Yield the number of passages, then the bytes of a `DocumentContent` as JSON."""
    document, title = load_document(parts)
    passages = cutter.of_document(document, title)
    yield orjson.dumps(len(passages))
    yield from _cut(b'{"text":' + orjson.dumps(document.text) + _BETWEEN)
    waiting = bytearray()
    for passage in passages:
        if passage.ordinal:
            waiting += b",\n"
        waiting += passage.model_dump_json().encode()
        if len(waiting) >= _PIECE_BYTES:
            yield from _cut(bytes(waiting))
            waiting.clear()
    yield from _cut(bytes(waiting) + _AFTER)


def _cut(content: bytes) -> Iterator[bytes]:
    for start in range(0, len(content), _PIECE_BYTES):
        yield content[start : start + _PIECE_BYTES]


def _stored(path: str) -> Iterator[bytes]:
    return dump_passages(_passages_at(Path(path)), with_text=True)


def _passages_at(path: Path) -> Iterator[Passage]:
    """Yield the passages of a stored content, line by line if it was written so: its text is not decoded then."""
    with path.open("rb") as file:
        if not file.readline().endswith(b",\n"):
            file.seek(0)
            yield from (Passage(**each) for each in _loaded(file.read())["passages"])
            return
        file.readline()
        for line in file:
            if line.startswith(b"{"):
                yield Passage.model_validate_json(line.rstrip(b",\n"))


def _loaded(content: bytes) -> Any:
    try:
        return orjson.loads(content)
    except orjson.JSONDecodeError as error:
        if "memory" in str(error):
            raise MemoryError from error
        raise
