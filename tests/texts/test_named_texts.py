"""Texts that stopped the projections, or would have: each is its own test, with what it took before."""

import time
from pathlib import Path

import pytest

from queries.search.highlight import highlight
from tests.texts.steps import as_document, size_of_passages
from workers.documents.chunking import chunk
from workers.documents.cleaning import clean
from workers.documents.detection import MediaType, detect
from workers.documents.document import Block, BlockKind, ParsedDocument
from workers.documents.formats.html import parse_html
from workers.documents.formats.markdown import parse_markdown
from workers.documents.formats.pdf_lines import without_hyphens
from workers.documents.limits import ParserLimits
from workers.embedding.tokenizer import PatternTokenizer, WordPieceTokenizer
from workers.passages import PassageCutter
from workers.text_analyzer import TextAnalyzer

PATTERN = PatternTokenizer()
WORD_PIECE = WordPieceTokenizer.of_minilm()
ANALYZER = TextAnalyzer()
LIMITS = ParserLimits()
MAX_TOKENS = 256
FREE_BYTES = 48 * 1024


class Clock:
    """The processor time of this thread since the test began, without what was set going before."""

    def __init__(self) -> None:
        self._started = time.thread_time()

    @property
    def seconds(self) -> float:
        return time.thread_time() - self._started


@pytest.fixture
def clock():
    ANALYZER.terms("é 天")
    return Clock()


def test_sixty_thousand_full_stops_and_a_letter_are_cut_at_once(clock):
    """64 s."""
    chunks = chunk(as_document("." * 60_000 + "a"), PATTERN, MAX_TOKENS)
    assert "".join(each.text for each in chunks) == "." * 60_000 + "a"
    assert clock.seconds < 1


@pytest.mark.parametrize("tokenizer", [PATTERN, WORD_PIECE])
def test_a_word_of_a_million_hex_digits_is_embedded_once_and_not_with_each_passage(tokenizer, clock):
    """247 MB."""
    text = "0123456789abcdef" * 62_500
    passages = PassageCutter(tokenizer, MAX_TOKENS).of_entry("hex", text)
    assert "".join(passage.text for passage in passages) == text
    assert sum(len(passage.embedded) for passage in passages) <= 2 * len(text) + 16_384
    assert clock.seconds < 3


def test_words_of_three_thousand_letters_are_not_embedded_with_254_others_each(clock):
    """250 MB: a window was counted in words alone."""
    text = ("x" * 3_000 + " ") * 333
    passages = PassageCutter(PATTERN, MAX_TOKENS).of_entry("words", text)
    assert size_of_passages(passages) <= 8 * len(text)
    assert clock.seconds < 3


def test_a_heading_of_a_hundred_kilobytes_is_not_repeated_with_each_passage():
    """In 4,000 passages: 400 MB."""
    heading, body = "h" * 100_000, "\n\n" + "word " * 200_000
    blocks = (
        Block(BlockKind.HEADING, 0, len(heading), 1, heading),
        Block(BlockKind.PARAGRAPH, len(heading) + 2, len(heading) + len(body)),
    )
    document = ParsedDocument("t", None, "text/markdown", heading + body, blocks)
    passages = PassageCutter(PATTERN, MAX_TOKENS).of_document(document, heading)
    assert size_of_passages(passages) <= 8 * len(document.text) + FREE_BYTES


def test_headings_over_single_letters_do_not_make_a_passage_of_each_letter():
    """A passage of its own for every nine characters: 111,000 rows."""
    text = "# a\n\nb\n\n" * 125_000
    document = parse_markdown(text.encode(), "a.md", LIMITS)
    passages = PassageCutter(PATTERN, MAX_TOKENS).of_document(document, "a")
    assert len(passages) <= 1_000 + len(text) // 32
    assert "".join("".join(passage.text.split()) for passage in passages) == "".join(text.split())


def test_a_line_of_blanks_is_cleaned_at_once(clock):
    """16,000 of them took 2.1 s."""
    assert clean("a" + " " * 200_000 + "b") == "a" + " " * 200_000 + "b"
    assert clock.seconds < 0.5


def test_two_hundred_thousand_marks_on_a_letter_are_analysed_at_once(clock):
    """16,000 of them took 0.2 s: they are sorted by insertion."""
    text = "e" + "\u0301\u0327" * 100_000 + " sound"
    assert ANALYZER.terms(text)[-1] == "sound"
    assert ANALYZER.spans_of({"sound"}, text) == [(len(text) - 5, len(text))]
    assert clock.seconds < 2


def test_letters_that_stand_for_eighteen_are_not_multiplied():
    """Ten times the bytes; the syllables of U+3316 made it eighteen times."""
    for letter in ("\ufdfa", "\u3316"):
        text = letter * 1_000
        assert sum(len(term.encode()) for term in ANALYZER.terms(text)) <= 8 * len(text.encode())
    assert ANALYZER.terms("\u3316") == ANALYZER.terms("キロメートル")


def test_a_passage_of_single_letters_is_highlighted_at_once(clock):
    """Each of the spans was compared with all that follow, for each of a hundred hits."""
    for _ in range(100):
        assert highlight("a1 " * 1_300, {"a1"}, ANALYZER).spans
    assert clock.seconds < 3


def test_a_mail_header_that_goes_on_for_a_page_is_detected_at_once(clock):
    """Forever: each CRLF doubled the ways that were tried, and 20 took 0.2 s."""
    assert detect(b"A: b\r\n" + b" c\r\n" * 900 + b"x", "a.txt", "", LIMITS) is MediaType.PLAIN
    assert clock.seconds < 0.5


def test_emphasis_in_a_paragraph_of_markdown_takes_no_time(clock):
    """More than 25 s: only headings are read for their words."""
    assert parse_markdown(b"a_b_" * 50_000, "a.md", LIMITS).text
    assert clock.seconds < 1


def test_a_markdown_file_of_single_letters_is_read_in_seconds(clock):
    """3.6 s: a full parser asks each line whether it begins any of ten things, twice."""
    document = parse_markdown(b"a\n" * 250_000, "a.md", LIMITS)
    assert len(document.blocks) == 1
    assert clock.seconds < 3


def test_a_page_that_nests_very_deep_is_read_in_seconds(clock):
    """46 s for a megabyte: the parser looks at all open elements for each further one."""
    document = parse_html(b"<div>a" * 100_000, "a.html", LIMITS)
    assert document.text.count("a") == 100_000
    assert clock.seconds < 3


def test_a_line_of_hyphened_words_in_a_pdf_is_joined_at_once(clock):
    """Its whole beginning was read again for each hyphen."""
    assert without_hyphens("ab\ufffe" * 20_000 + "ab", frozenset()) == "ab" * 20_001
    assert clock.seconds < 2


def test_the_corpus_looks_at_every_format_that_is_read():
    formats = {path.stem for path in (Path(__file__).parents[2] / "workers/documents/formats").glob("*.py")}
    assert {"pdf", "docx", "html", "markdown", "plain_text"} <= formats
