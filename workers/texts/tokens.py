"""A tokenizer for long texts: piece by piece, and with few objects, so that ten million tokens fit into a gigabyte."""

from collections.abc import Iterator, Sequence
from typing import overload

from domain.shared.text import Tokenizer

_PIECE = 100_000
_LOOKED_BACK = 2_000
_Span = tuple[int, int]


class PiecewiseTokenizer:
    """Finds the tokens that another tokenizer finds, but for a word of thousands of characters, which may be parted."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer

    def spans(self, text: str) -> Sequence[_Span]:
        """Return the (start, end) character offsets of every token of `text`."""
        if len(text) <= _PIECE:
            return self._tokenizer.spans(text)
        spans = _Spans()
        for start, end in _pieces(text):
            spans.extend(start, self._tokenizer.spans(text[start:end]))
        return spans


def _pieces(text: str) -> Iterator[_Span]:
    """Yield pieces that end with white space, if there is any near: words are not parted."""
    start = 0
    while len(text) - start > _PIECE:
        reach = start + _PIECE
        end = next((at for at in range(reach, reach - _LOOKED_BACK, -1) if text[at - 1].isspace()), reach)
        yield start, end
        start = end
    yield start, len(text)


class _Spans(Sequence[_Span]):
    """Spans as two lists of numbers; where a token begins at the end of the one before, both have the same object."""

    def __init__(self) -> None:
        self._starts: list[int] = []
        self._ends: list[int] = []

    def extend(self, offset: int, spans: Sequence[_Span]) -> None:
        """Add the spans of a piece that begins at `offset`."""
        last = -1
        for start, end in spans:
            moved = start + offset
            if moved == last:
                moved = last
            last = end + offset
            self._starts.append(moved)
            self._ends.append(last)

    def __len__(self) -> int:
        return len(self._starts)

    def __iter__(self) -> Iterator[_Span]:
        return zip(self._starts, self._ends, strict=True)

    @overload
    def __getitem__(self, index: int) -> _Span: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[_Span]: ...
    def __getitem__(self, index: int | slice) -> _Span | Sequence[_Span]:
        if isinstance(index, slice):
            return list(zip(self._starts[index], self._ends[index], strict=True))
        return self._starts[index], self._ends[index]
