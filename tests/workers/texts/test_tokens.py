"""Long texts are tokenised piece by piece: the same tokens."""

import random

import pytest

from workers.embedding.tokenizer import PatternTokenizer, WordPieceTokenizer
from workers.texts import tokens
from workers.texts.tokens import PiecewiseTokenizer


@pytest.mark.parametrize("tokenizer", [PatternTokenizer(), WordPieceTokenizer.of_minilm()], ids=["pattern", "minilm"])
def test_pieces_have_the_tokens_of_the_whole(tokenizer, monkeypatch):
    monkeypatch.setattr(tokens, "_PIECE", 500)
    chosen = random.Random(16)  # noqa: S311 - a text, not a secret
    words = ["clay", "unbelievably", "冰川沉积", "e\u0301", "1887,", "x-y_z", "naïve", "😀", "a" * 90]
    text = " ".join(chosen.choices(words, k=2_000))
    spans = PiecewiseTokenizer(tokenizer).spans(text)
    whole = list(tokenizer.spans(text))
    assert list(spans) == whole
    assert len(spans) == len(whole) > 500
    assert (spans[7], spans[-1], spans[3:6]) == (whole[7], whole[-1], whole[3:6])


def test_a_word_that_never_ends_is_parted(monkeypatch):
    monkeypatch.setattr(tokens, "_PIECE", 3_000)
    spans = list(PiecewiseTokenizer(PatternTokenizer()).spans("a" * 10_000))
    assert spans == [(0, 3_000), (3_000, 6_000), (6_000, 9_000), (9_000, 10_000)]
