"""The steps that meet a tenant's text, each as a function of the text that returns how many bytes it has made."""

import asyncio
import functools
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

from commands.redaction import redacted
from domain.knowledge.content import DocumentContent, Passage
from eventstore.storable import storable_json
from queries.errors import InvalidCursor
from queries.paging import decode_cursor
from queries.search.highlight import highlight
from queries.search.ranking import FusionWeights
from workers.documents.chunking import chunk
from workers.documents.cleaning import clean, one_line, squeeze
from workers.documents.detection import detect
from workers.documents.document import Block, BlockKind, ParsedDocument
from workers.documents.encoding import decode
from workers.documents.formats.pdf_layout import body_size, heading_levels, paragraphs
from workers.documents.formats.pdf_lines import Line, without_hyphens, words_of
from workers.documents.language import detect_language
from workers.documents.limits import ParserLimits
from workers.documents.rejection import DocumentRejected
from workers.documents.titles import choose_title
from workers.embedding.hashing import HashingEmbedder
from workers.embedding.tokenizer import PatternTokenizer, WordPieceTokenizer
from workers.embedding.windows import embedding_texts
from workers.passages import PassageCutter
from workers.text_analyzer import TextAnalyzer

MOST_CHARACTERS = 1_000_000
_MAX_TOKENS = 256
_LIMITS = ParserLimits()
_TITLE = "A title of some words"
_PATTERN = PatternTokenizer()
_ANALYZER = TextAnalyzer()


# A token of the library's is six allocations. From 16,000 characters on they leave the processor's caches, and come
# from pages that are new to the process: 5.7 times as long for four times the text, and 2.6 s for a million characters.
_OF_THE_LIBRARY = 6.5


@dataclass(frozen=True, slots=True)
class Step:
    """A step and the longest text that it is given.

    Attributes:
        run: returns the bytes of all that it makes of the text.
        most: in characters.
        least: in characters, where less than that is not like more: a sample of the text is taken, say.
        seconds_per_million: the most processor time for a million characters.
        most_growth: of the time, where the text is four times as long.
    """

    run: Callable[[str], int]
    most: int = MOST_CHARACTERS
    least: int = 16_000
    seconds_per_million: float = 3.0
    most_growth: float = 5.0


def size_of(texts: Iterable[str]) -> int:
    """Return how many bytes `texts` take together."""
    return sum(len(text.encode("utf-8", "surrogatepass")) for text in texts)


def size_of_passages(passages: Sequence[Passage]) -> int:
    """Return how many bytes all texts of `passages` take: what is stored, embedded and shown."""
    return size_of(text for passage in passages for text in (passage.text, passage.embedded, *passage.heading_path))


def as_document(text: str, *, kind: BlockKind = BlockKind.PARAGRAPH) -> ParsedDocument:
    """The text as one block of a document, without a parser's cleaning."""
    return ParsedDocument(_TITLE, None, "text/plain", text, (Block(kind, 0, len(text)),) if text else ())


@functools.cache
def word_piece() -> WordPieceTokenizer:
    return WordPieceTokenizer.of_minilm()


def _chunks_by_words(text: str) -> int:
    return size_of(each.text for each in chunk(as_document(text), _PATTERN, _MAX_TOKENS))


def _chunks_by_word_pieces(text: str) -> int:
    return size_of(each.text for each in chunk(as_document(text), word_piece(), _MAX_TOKENS))


def _entry_by_words(text: str) -> int:
    return size_of_passages(PassageCutter(_PATTERN, _MAX_TOKENS).of_entry(_TITLE, text))


def _entry_by_word_pieces(text: str) -> int:
    return size_of_passages(PassageCutter(word_piece(), _MAX_TOKENS).of_entry(_TITLE, text))


def _document_under_long_title(text: str) -> int:
    """Half of the text is the title, half is the content."""
    half = len(text) // 2
    return size_of_passages(PassageCutter(_PATTERN, _MAX_TOKENS).of_document(as_document(text[half:]), text[:half]))


def _document_of_lines(text: str) -> int:
    """Each line is a block of its own."""
    done, blocks = 0, []
    for line in text.split("\n"):
        if line.strip():
            blocks.append(Block(BlockKind.PARAGRAPH, done, done + len(line)))
        done += len(line) + 1
    document = ParsedDocument(_TITLE, None, "text/plain", text, tuple(blocks))
    return size_of_passages(PassageCutter(_PATTERN, _MAX_TOKENS).of_document(document, _TITLE))


def _headings(text: str, *, letters: int) -> ParsedDocument:
    """Headings of `letters` characters, one below another, and a letter of content under each."""
    blocks = []
    for number, start in enumerate(range(0, len(text) - letters, letters + 1)):
        title = text[start : start + letters]
        level = min(1 + number, 6)
        blocks.append(Block(BlockKind.HEADING, start, start + letters, level, " ".join(title.split())))
        blocks.append(Block(BlockKind.PARAGRAPH, start + letters, start + letters + 1))
    return ParsedDocument(_TITLE, None, "text/markdown", text, tuple(blocks))


def _long_headings(text: str) -> int:
    cutter = PassageCutter(_PATTERN, _MAX_TOKENS)
    return size_of_passages(cutter.of_document(_headings(text, letters=max(1, len(text) // 8)), _TITLE))


def _short_headings(text: str) -> int:
    cutter = PassageCutter(_PATTERN, _MAX_TOKENS)
    return size_of_passages(cutter.of_document(_headings(text, letters=5), _TITLE))


def _windows(text: str) -> int:
    """Windows around pieces of ten characters would be long ones."""
    pieces = [(start, min(start + 2_000, len(text))) for start in range(0, len(text), 2_000)]
    return size_of(
        embedding_texts(
            text, pieces, sections=[()] * len(pieces), title=text, tokenizer=_PATTERN, max_tokens=_MAX_TOKENS - 2
        )
    )


def _content(text: str) -> int:
    if not text.isprintable():
        text = clean(text)
    passages = PassageCutter(_PATTERN, _MAX_TOKENS).of_document(as_document(text), _TITLE)
    return len(DocumentContent(text=text, passages=passages).model_dump_json())


def _terms(text: str) -> int:
    return size_of(_ANALYZER.terms(text))


def _terms_of_passages(text: str) -> int:
    passages = PassageCutter(_PATTERN, _MAX_TOKENS).of_entry(_TITLE, text)
    return size_of(term for passage in passages for term in set(_ANALYZER.terms(f"{_TITLE}\n{passage.text}")))


def _spans(text: str) -> int:
    terms = set(_ANALYZER.terms(text[:500]))
    return len(json.dumps(_ANALYZER.spans_of(terms, text), separators=(",", ":"))) // 4  # two machine words a span


def _highlight(text: str) -> int:
    highlighted = highlight(text, set(_ANALYZER.terms(text[:500])), _ANALYZER)
    return len(json.dumps(highlighted.model_dump(mode="python")))  # JSON of pydantic's has no lone surrogates


def _embedding(text: str) -> int:
    pieces = [text[start : start + 4_000] for start in range(0, len(text), 4_000)]
    asyncio.run(HashingEmbedder().embed(pieces))
    return 0  # a vector's length does not depend on the text


def _token_spans(text: str) -> int:
    word_piece().spans(text)
    return 0


def _detected(text: str) -> int:
    try:
        return len(detect(text.encode("utf-8", "replace"), "a.txt", "", _LIMITS))
    except DocumentRejected:
        return 0


def _decoded(text: str) -> int:
    return size_of([decode(text.encode("utf-8", "replace")) or ""])


def _legacy_decoded(text: str) -> int:
    return size_of([decode(text.encode("latin-1", "replace")) or ""])


def _language(text: str) -> int:
    return len(detect_language(as_document(text)) or "")


def _title(text: str) -> int:
    return size_of([choose_title(text, (Block(BlockKind.HEADING, 0, 1, 1, text),), text)])


def _lines(text: str) -> list[Line]:
    """The text as the lines of one page of a PDF, 60 characters long."""
    return [
        Line(text[start : start + 60], 72.0, 500.0, 700.0 - start / 6, 700.0 - start / 6, 12.0, 12.0, bold=False)
        for start in range(0, len(text), 60)
    ]


def _page(text: str) -> int:
    return _layout([_lines(text)])


def _page_of_one_line(text: str) -> int:
    return _layout([[Line(text, 72.0, 500.0, 700.0, 700.0, 12.0, 12.0, bold=False)]])


def _page_of_hyphens(text: str) -> int:
    """Every third character is the mark of a hyphen at a line's end."""
    hyphened = "\ufffe".join(text[start : start + 2] for start in range(0, len(text) * 2 // 3, 2))
    return _layout([[Line(hyphened, 72.0, 500.0, 700.0, 700.0, 12.0, 12.0, bold=False)]])


def _layout(pages: list[list[Line]]) -> int:
    body = body_size(pages)
    grouped = [paragraphs(lines, body, words_of(pages)) for lines in pages]
    heading_levels(grouped, body)
    return size_of(paragraph.text for page in grouped for paragraph in page)


def _hyphens(text: str) -> int:
    return size_of([without_hyphens(text.replace(" ", "\ufffe"), frozenset({"ab", "xx"}))])


def _audited(text: str) -> int:
    return len(json.dumps(redacted({"text": text, text: ["a", text]})))


def _stored_json(text: str) -> int:
    storable = text.replace("\x00", "").encode("utf-8", "replace").decode()
    return len(storable_json({"text": storable}))


def _cursor(text: str) -> int:
    with suppress(InvalidCursor):
        decode_cursor(text, "name", [])
    return 0


def _weight(text: str) -> int:
    FusionWeights().of(text)
    return 0


TEXT_STEPS: Mapping[str, Step] = {
    "clean": Step(lambda text: size_of([clean(text)])),
    "one_line": Step(lambda text: size_of([one_line(text)])),
    "squeeze": Step(lambda text: size_of([squeeze(text)])),
    "decode": Step(_decoded),
    "decode of another encoding": Step(_legacy_decoded),
    "detect": Step(_detected),
    "detect_language": Step(_language, least=64_000),
    "choose_title": Step(_title),
    "chunk by words": Step(_chunks_by_words),
    "chunk by word pieces": Step(_chunks_by_word_pieces, most_growth=_OF_THE_LIBRARY),
    "passages of an entry by words": Step(_entry_by_words),
    "passages of an entry by word pieces": Step(_entry_by_word_pieces, most_growth=_OF_THE_LIBRARY),
    "passages under a long title": Step(_document_under_long_title),
    "passages of lines": Step(_document_of_lines),
    "passages under long headings": Step(_long_headings),
    "passages under short headings": Step(_short_headings),
    "embedding_texts": Step(_windows),
    "content of a document": Step(_content),
    "terms": Step(_terms),
    "terms of passages": Step(_terms_of_passages),
    "spans_of": Step(_spans),
    "highlight": Step(_highlight),
    "embed by hashing": Step(_embedding),
    "tokens by word pieces": Step(_token_spans, most_growth=_OF_THE_LIBRARY),
    "lines of a PDF's page": Step(_page),
    "a PDF's page of one line": Step(_page_of_one_line),
    "a PDF's page of hyphens": Step(_page_of_hyphens),
    "without_hyphens": Step(_hyphens),
    "audited command": Step(_audited),
    "stored JSON": Step(_stored_json),
    "decode_cursor": Step(_cursor),
    "weights of a question": Step(_weight),
}
