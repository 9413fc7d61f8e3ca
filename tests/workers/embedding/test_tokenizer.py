"""Where tokens lie in a text."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.embedding.tokenizer import PatternTokenizer, WordPieceTokenizer


def test_word_pieces_are_located_in_the_text_as_it_was_given():
    text = "Naïve embeddings, 噪声"

    assert [text[start:end] for start, end in WordPieceTokenizer.of_minilm().spans(text)] == [
        "Naïve", "em", "bed", "ding", "s", ",", "噪", "声",
    ]  # fmt: skip


def test_a_long_text_is_neither_cut_nor_padded():
    assert len(WordPieceTokenizer.of_minilm().spans("noise " * 1_000)) == 1_000


def test_the_pattern_takes_words_characters_and_marks():
    text = "Jet noise, 噪声"

    assert [text[start:end] for start, end in PatternTokenizer().spans(text)] == ["Jet", "noise", ",", "噪", "声"]


@pytest.mark.parametrize(
    "tokenizer", [WordPieceTokenizer.of_minilm(), PatternTokenizer()], ids=["word pieces", "pattern"]
)
@given(text=st.text())
def test_spans_lie_in_the_text_in_order(tokenizer, text):
    spans = list(tokenizer.spans(text))

    assert all(0 <= start <= end <= len(text) for start, end in spans)
    assert [start for start, _ in spans] == sorted(start for start, _ in spans)
