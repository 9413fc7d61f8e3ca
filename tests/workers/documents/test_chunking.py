"""Chunks cover a document exactly, keep to its structure and to the model's limit, whatever the text."""

import time
import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workers.documents.chunking import SPECIAL_TOKENS, Chunk, chunk
from workers.documents.cleaning import clean
from workers.documents.document import ParsedDocument
from workers.documents.limits import ParserLimits
from workers.documents.parse import extract
from workers.embedding.tokenizer import PatternTokenizer, WordPieceTokenizer

LIMITS = ParserLimits()
WORD_PIECE = WordPieceTokenizer.of_minilm()
TOKENIZERS = [WORD_PIECE, PatternTokenizer()]
PIECES = st.one_of(
    st.text(max_size=60),
    st.text(alphabet="天地玄黄宇宙洪荒。！？，、", max_size=80),
    st.text(alphabet="한국어 의무 는。", max_size=60),
    st.text(alphabet="ae\u0301\u0327\u0308 x", max_size=60),
    st.lists(st.sampled_from(["👨‍👩‍👧‍👦", "🇩🇪", "👍🏽", "❤️", " "]), max_size=30).map("".join),
    st.integers(50, 700).map(lambda length: "x" * length),
    st.integers(1, 80).map(lambda count: "A sentence of words. " * count),
    st.sampled_from(
        ["\n\n", "\n", "# Heading\n\n", "## Second\n\n", "- item\n", "```\ncode\n```\n", "| a | b |\n|---|---|\n"]
    ),
)
TEXTS = st.lists(PIECES, max_size=12).map("".join)


def parsed(text: str, filename: str = "a.md") -> ParsedDocument:
    return extract(text.encode("utf-8", "replace"), filename, "", LIMITS)


def as_document(text: str) -> ParsedDocument:
    """The text as Markdown without a parser's cleaning, so that any character reaches the chunker."""
    document = parsed("x")
    return ParsedDocument("t", None, document.media_type, text, ())


def assert_covers(document: ParsedDocument, chunks: list[Chunk]) -> None:
    """Every character but white space is in exactly one chunk, in order."""
    done = 0
    for ordinal, piece in enumerate(chunks):
        assert piece.ordinal == ordinal
        assert document.text[piece.start : piece.end] == piece.text
        assert piece.text == piece.text.strip()
        assert piece.text
        assert done <= piece.start
        assert not document.text[done : piece.start].strip()
        done = piece.end
    assert not document.text[done:].strip()


@pytest.mark.parametrize("tokenizer", TOKENIZERS)
@settings(max_examples=150, deadline=None)
@given(text=TEXTS, max_tokens=st.sampled_from([16, 40, 256]))
def test_chunks_cover_any_text_exactly_and_none_is_longer_than_the_limit(tokenizer, text, max_tokens):
    document = as_document(text)
    chunks = chunk(document, tokenizer, max_tokens)
    assert_covers(document, chunks)
    assert all(len(tokenizer.spans(piece.text)) + SPECIAL_TOKENS <= max_tokens for piece in chunks)


@settings(max_examples=150, deadline=None)
@given(text=TEXTS)
def test_chunks_cover_any_markdown_exactly(text):
    document = parsed(clean(text) + "\nend")
    chunks = chunk(document, WORD_PIECE, 64)
    assert_covers(document, chunks)
    assert all(len(WORD_PIECE.spans(piece.text)) + SPECIAL_TOKENS <= 64 for piece in chunks)


@settings(max_examples=100, deadline=None)
@given(text=st.text(alphabet="e\u0301\u0327xyz天", min_size=30, max_size=300))
def test_no_cut_separates_a_letter_from_its_accent(text):
    document = as_document("e" + text)
    for piece in chunk(document, PatternTokenizer(), 16):
        assert not unicodedata.combining(piece.text[0])


def test_a_heading_starts_a_chunk_and_names_the_path_to_it():
    document = parsed("# Book\n\nPreface.\n\n## One\n\nFirst.\n\n### Deep\n\nDeeper.\n\n## Two\n\nSecond.\n")
    chunks = chunk(document, WORD_PIECE, 256)
    assert [(piece.heading_path, piece.text) for piece in chunks] == [
        (("Book",), "# Book\n\nPreface."),
        (("Book", "One"), "## One\n\nFirst."),
        (("Book", "One", "Deep"), "### Deep\n\nDeeper."),
        (("Book", "Two"), "## Two\n\nSecond."),
    ]


def test_a_chapter_s_title_without_text_joins_the_section_below_it():
    chunks = chunk(parsed("# Book\n\n## One\n\nFirst.\n"), WORD_PIECE, 256)
    assert [(piece.heading_path, piece.text) for piece in chunks] == [(("Book", "One"), "# Book\n\n## One\n\nFirst.")]


def test_small_neighbouring_paragraphs_share_a_chunk():
    assert len(chunk(parsed("One.\n\nTwo.\n\nThree.\n"), WORD_PIECE, 256)) == 1


@pytest.mark.parametrize(
    "sentence",
    ["The quick brown fox jumps over the lazy dog. ", "敏捷的棕色狐狸跳过了那只懒狗。", "これは短い文です！"],
)
def test_a_long_paragraph_is_cut_between_sentences(sentence):
    chunks = chunk(parsed(sentence * 60, "a.txt"), WORD_PIECE, 100)
    assert len(chunks) > 3
    assert all(piece.text.endswith(sentence.strip()[-1]) for piece in chunks)
    assert all(piece.text.startswith(sentence[:3]) for piece in chunks)


def test_a_long_sentence_is_cut_between_words():
    chunks = chunk(parsed("word " * 500, "a.txt"), WORD_PIECE, 64)
    assert {word for piece in chunks for word in piece.text.split()} == {"word"}


def test_a_long_table_is_cut_between_its_lines():
    row = "1,some name,another value,42"
    chunks = chunk(parsed("\n".join([row] * 100), "a.csv"), WORD_PIECE, 100)
    assert {line for piece in chunks for line in piece.text.split("\n")} == {row}


def test_a_chunk_is_filled_before_the_next_one_begins():
    chunks = chunk(parsed("A sentence of some seven words here. " * 70, "a.txt"), WORD_PIECE, 256)
    *filled, rest = [len(WORD_PIECE.spans(piece.text)) for piece in chunks]
    sentence = 8
    assert len(filled) == 2
    assert all(254 - sentence < size <= 254 for size in filled)
    assert 0 < rest < 254 - sentence


def test_paragraphs_are_joined_while_they_fit_and_never_beyond():
    paragraph = "A sentence of some seven words here."
    chunks = chunk(parsed(f"{paragraph}\n\n" * 5, "a.txt"), WORD_PIECE, 18)
    assert [piece.text.count(paragraph) for piece in chunks] == [2, 2, 1]


def test_a_limit_that_no_text_fits_into_is_refused():
    with pytest.raises(ValueError, match="at least 16"):
        chunk(parsed("x"), WORD_PIECE, 4)


def test_a_megabyte_of_text_is_cut_in_seconds():
    document = parsed("A sentence of some seven words here. Another one follows it.\n\n" * 16_000, "a.txt")
    started = time.monotonic()
    chunks = chunk(document, WORD_PIECE, 256)
    assert len(chunks) > 500
    assert time.monotonic() - started < 15


def test_a_megabyte_without_a_blank_is_cut_in_seconds():
    started = time.monotonic()
    chunks = chunk(parsed("x" * 1_000_000, "a.txt"), WORD_PIECE, 256)
    assert chunks
    assert time.monotonic() - started < 15
