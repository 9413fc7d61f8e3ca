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
from workers.texts.wire import dump_passages, load_document, pieces_of

Step = Callable[[Sequence[bytes]], Iterator[bytes]]
"""Takes the parts of a job, and yields the pieces of its answer."""
_PIECE_BYTES = 500_000


def steps(tokenizer: str, max_tokens: int) -> Mapping[str, Step]:
    """Return every step, by name."""
    cutter = PassageCutter(tokenizer_of(tokenizer), max_tokens)
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
    yield from _cut(b'{"text":' + orjson.dumps(document.text) + b',"passages":[')
    comma = b""
    for passage in passages:
        yield from _cut(comma + passage.model_dump_json().encode())
        comma = b","
    yield b"]}"


def _cut(content: bytes) -> Iterator[bytes]:
    for start in range(0, len(content), _PIECE_BYTES):
        yield content[start : start + _PIECE_BYTES]


def _stored(path: str) -> Iterator[bytes]:
    fields: dict[str, Any] = orjson.loads(Path(path).read_bytes())
    return dump_passages((Passage(**each) for each in fields["passages"]), with_text=True)
