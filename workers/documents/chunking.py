"""Cuts a document into passages for the embedder, along its structure and with exact offsets.

Sections are what headings open. Inside a section, each chunk is filled with blocks before the next one begins; a block
that is too long is cut after sentences, then lines and clauses, then words, and only then between characters.
"""

import re
import unicodedata
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from domain.shared.text import Tokenizer
from workers.documents.allowance import Allowance
from workers.documents.document import Block, BlockKind, ParsedDocument

SPECIAL_TOKENS = 2
"""What the model adds to every input, [CLS] and [SEP]: they count towards its limit."""

_SMALLEST_LIMIT = 16
CHARACTERS_PER_TOKEN = 16
"""A passage has no more characters than this for each token that the model reads, whatever the tokenizer counts."""
_JOINER = "\u200d"
_FREE_SECTIONS = 1_000
_CHARACTERS_PER_SECTION = 64
"""Beyond the first 1,000, sections have 64 characters on average: each is a passage, which costs as much to store."""
_LONGEST_TITLE = 300
# A run of marks is tried at its first mark only: at each of them it would take the square of the run's length.
_SENTENCE_END = re.compile(
    r"(?<![.!?…])[.!?…]++[\"'”’»)\]]*+(?=\s)|[。！？｡]++[”’」』）】\"']*+|\n\s*\n",
)
_LINE_OR_CLAUSE_END = re.compile(r"\n|[,;:](?=\s)|[，；：、]")
_WORD_END = re.compile(r"\s+")


@dataclass(frozen=True, slots=True)
class Chunk:
    """A passage of a document.

    Attributes:
        ordinal: its place among the document's chunks, from 0.
        text: exactly ``document.text[start:end]``, with no white space at its ends.
        start: its offset in the document's text.
        end: where it ends, exclusive.
        heading_path: the titles of the sections that it is in, the outermost first.
        page: the number of the page on which it starts, None where the format has none.
    """

    ordinal: int
    text: str
    start: int
    end: int
    heading_path: tuple[str, ...]
    page: int | None


def chunk(document: ParsedDocument, tokenizer: Tokenizer, max_tokens: int) -> list[Chunk]:
    """Return the document's chunks in order; together they hold every character but white space exactly once.

    Args:
        document: what was parsed.
        tokenizer: the embedding model's own.
        max_tokens: the longest input of the model, its `SPECIAL_TOKENS` included; no chunk is longer.

    Raises:
        ValueError: `max_tokens` is below 16, where single characters may not fit.
    """
    if max_tokens < _SMALLEST_LIMIT:
        raise ValueError(f"max_tokens is {max_tokens}, but must be at least {_SMALLEST_LIMIT}")
    limit = max_tokens - SPECIAL_TOKENS
    measure = _Measure(document.text, tokenizer)
    page_starts = [page.start for page in document.pages]
    chunks: list[Chunk] = []
    allowance = Allowance()
    for section in _sections(document):
        for packed in _pack(_cut(section, measure, limit), measure, limit):
            for start, end in _fitting(*packed, tokenizer, limit, document.text):
                page = document.pages[bisect_right(page_starts, start) - 1].number if page_starts else None
                text = document.text[start:end]
                allowance.earn(text)
                chunks.append(Chunk(len(chunks), text, start, end, _affordable(section.heading_path, allowance), page))
    return chunks


def _affordable(heading_path: tuple[str, ...], allowance: Allowance) -> tuple[str, ...]:
    """Return the path, or nothing where headings are repeated more often than they are worth."""
    return heading_path if allowance.spend(*heading_path) else ()


@dataclass(frozen=True, slots=True)
class _Section:
    """The spans of blocks that may share a chunk, and the headings above them."""

    heading_path: tuple[str, ...]
    spans: tuple[tuple[int, int], ...]


class _Measure:
    """Counts tokens between two offsets; the text is tokenised once."""

    def __init__(self, text: str, tokenizer: Tokenizer) -> None:
        self.text = text
        self.starts = [start for start, _ in tokenizer.spans(text)]

    def tokens(self, start: int, end: int) -> int:
        """The tokens that start in the range, or more where a run without tokens is very long."""
        counted = bisect_left(self.starts, end) - bisect_left(self.starts, start)
        return max(counted, (end - start) // CHARACTERS_PER_TOKEN)

    def reach(self, start: int, end: int, budget: int) -> int:
        """The offset up to which at most `budget` tokens follow `start`, at least one character on."""
        index = bisect_left(self.starts, start) + budget
        by_tokens = self.starts[index] if index < len(self.starts) else end
        return max(start + 1, min(end, by_tokens, start + budget * CHARACTERS_PER_TOKEN))


def _sections(document: ParsedDocument) -> Iterator[_Section]:
    """A heading opens a section, unless only headings came before it: a chapter's title joins its first section's."""
    spans: list[tuple[int, int]] = []
    above: list[Block] = []
    has_content = False
    sections = 0
    for block, start, end in _covering(document):
        if block is not None and block.kind is BlockKind.HEADING:
            if has_content and sections < _FREE_SECTIONS + start // _CHARACTERS_PER_SECTION:
                yield _Section(_titles(above), tuple(spans))
                spans, has_content = [], False
                sections += 1
            above = [heading for heading in above if heading.level < block.level] + [block]
        else:
            has_content = True
        spans.append((start, end))
    if spans:
        yield _Section(_titles(above), tuple(spans))


def _titles(headings: Sequence[Block]) -> tuple[str, ...]:
    return tuple(heading.title[:_LONGEST_TITLE] for heading in headings)


def _covering(document: ParsedDocument) -> Iterator[tuple[Block | None, int, int]]:
    """Yield the blocks, and what is written between them as blocks of no kind: front matter, link definitions."""
    done = 0
    for block in document.blocks:
        if block.start >= done:
            yield from ((None, *span) for span in _trimmed(document.text, done, block.start))
            yield block, block.start, block.end
            done = block.end
    yield from ((None, *span) for span in _trimmed(document.text, done, len(document.text)))


def _trimmed(text: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    """Yield the range without white space at its ends, or nothing when it holds nothing else."""
    while start < end and text[start].isspace():
        start += 1
    while start < end and text[end - 1].isspace():
        end -= 1
    if start < end:
        yield start, end


def _cut(section: _Section, measure: _Measure, limit: int) -> Iterator[tuple[int, int]]:
    """Yield pieces of at most `limit` tokens; a piece is never empty and never only white space."""
    for start, end in section.spans:
        for piece_start, piece_end in _pieces(measure, start, end, limit):
            yield from _trimmed(measure.text, piece_start, piece_end)


def _pieces(measure: _Measure, start: int, end: int, limit: int) -> Iterator[tuple[int, int]]:
    if measure.tokens(start, end) <= limit:
        yield start, end
        return
    for sentence_start, sentence_end in _split(measure.text, start, end, _SENTENCE_END):
        if measure.tokens(sentence_start, sentence_end) <= limit:
            yield sentence_start, sentence_end
        else:
            yield from _parts_of_sentence(measure, sentence_start, sentence_end, limit)


def _split(text: str, start: int, end: int, pattern: re.Pattern[str]) -> Iterator[tuple[int, int]]:
    done = start
    for match in pattern.finditer(text, start, end):
        if match.end() > done:
            yield done, match.end()
            done = match.end()
    if done < end:
        yield done, end


def _parts_of_sentence(measure: _Measure, start: int, end: int, limit: int) -> Iterator[tuple[int, int]]:
    while measure.tokens(start, end) > limit:
        cut = _good_cut(measure.text, start, measure.reach(start, end, limit), end)
        yield start, cut
        start = cut
    if start < end:
        yield start, end


def _good_cut(text: str, start: int, reach: int, end: int) -> int:
    """The best place to cut in ``(start, reach]``: a clause's end in its later half, else a word's, else any."""
    if reach >= end:
        return end
    half = start + (reach - start) // 2
    for pattern, earliest in ((_LINE_OR_CLAUSE_END, half), (_WORD_END, start)):
        cut = max((match.end() for match in pattern.finditer(text, earliest, reach)), default=start)
        if cut > start:
            return cut
    cut = reach
    while cut > start and not _may_cut(text, cut):
        cut -= 1
    return cut if cut > start else reach


def _may_cut(text: str, cut: int) -> bool:
    """Whether both sides of the cut are whole characters to a reader: accents and joined emoji stay together."""
    following, previous = text[cut : cut + 1], text[cut - 1 : cut]
    if _JOINER in (following, previous):
        return False
    return not following or not (unicodedata.category(following).startswith("M") or "🏻" <= following <= "🏿")


def _pack(pieces: Iterator[tuple[int, int]], measure: _Measure, limit: int) -> Iterator[tuple[int, int]]:
    """Join neighbours for as long as they fit together: what is left over ends the section, however short it is.

    The embedder reads a short rest with what comes before it (`workers.embedding.windows`), so nothing is gained by
    chunks of equal size, which are more.
    """
    packed: tuple[int, int] | None = None
    for start, end in pieces:
        if packed is None or measure.tokens(packed[0], end) > limit:
            if packed is not None:
                yield packed
            packed = start, end
        else:
            packed = packed[0], end
    if packed is not None:
        yield packed


def _fitting(start: int, end: int, tokenizer: Tokenizer, limit: int, text: str) -> Iterator[tuple[int, int]]:
    """Yield the span, cut again where its own tokens are too many: a word that was cut may count differently."""
    for trimmed_start, trimmed_end in _trimmed(text, start, end):
        spans = tokenizer.spans(text[trimmed_start:trimmed_end])
        if len(spans) <= limit or trimmed_end - trimmed_start == 1:
            yield trimmed_start, trimmed_end
            return
        cut = _recut(text, trimmed_start, trimmed_end, spans, limit)
        yield from _fitting(trimmed_start, cut, tokenizer, limit, text)
        yield from _fitting(cut, trimmed_end, tokenizer, limit, text)


def _recut(text: str, start: int, end: int, spans: Sequence[tuple[int, int]], limit: int) -> int:
    """Halve what is a little too long, and never return one of its ends."""
    reach = start + min(spans[limit][0], (end - start + 1) // 2)
    return _good_cut(text, start, max(start + 1, min(reach, end - 1)), end)
