"""What is embedded for a chunk: its title, and as much of its section as the model reads.

A chunk shorter than the model's input reaches into its neighbours of the same section until the input is full. Cosines
of texts of one length compare better: on the retrieval sets this costs English nothing, and lifts a language that the
model does not know (CMRC 2018) from 0.10 to 0.19 nDCG@10, because the length no longer outweighs the content.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from domain.shared.text import Tokenizer
from workers.documents.allowance import Allowance
from workers.documents.chunking import CHARACTERS_PER_TOKEN

_TITLE_SHARE = 4  # a title takes at most a quarter of the input
_MOST_GROWTH = 2  # of all windows, beyond the chunks themselves: half of that is what full sections come to
_Span = tuple[int, int]


def embedding_texts(
    text: str,
    chunks: Sequence[_Span],
    *,
    sections: Sequence[tuple[str, ...]],
    title: str,
    tokenizer: Tokenizer,
    max_tokens: int,
) -> list[str]:
    """Return for each chunk the text to embed: the title, a line break, the chunk with what surrounds it.

    Args:
        text: the whole source.
        chunks: (start, end) offsets into `text`, in order.
        sections: the heading path of each chunk; chunks side by side with the same one are neighbours.
        title: what every chunk of the source is about; empty when there is none, or when it is only a file's name. It
            takes at most a quarter of the input, and no more than the chunk leaves.
        tokenizer: the model's own.
        max_tokens: what the model reads, special tokens left out; where a word is cut, the result may have one more.
    """
    window = _Windows(text, tokenizer, max_tokens)
    titles = _Titles(title, tokenizer, max_tokens)
    embedded = []
    for (start, end), within in zip(chunks, _bounds(chunks, sections), strict=True):
        heading = titles.of(text[start:end], leaving=window.tokens(start, end))
        surrounded = window.around(start, end, within=within, room=max_tokens - heading.tokens)
        embedded.append(f"{heading.text}\n{surrounded}" if heading.text else surrounded)
    return embedded


@dataclass(frozen=True, slots=True)
class _Title:
    text: str = ""
    tokens: int = 0


class _Titles:
    """As much of the title as is embedded with each chunk."""

    def __init__(self, title: str, tokenizer: Tokenizer, max_tokens: int) -> None:
        self._title = title
        self._ends = [end for _, end in tokenizer.spans(title)]
        self._max_tokens = max_tokens
        self._allowance = Allowance()

    def of(self, chunk: str, *, leaving: int) -> _Title:
        """Return what stands above `chunk`, which has `leaving` tokens."""
        share = self._max_tokens // _TITLE_SHARE
        tokens = min(len(self._ends), share, max(0, self._max_tokens - leaving))
        self._allowance.earn(chunk)
        if tokens == 0:
            return _Title()
        text = self._title[: min(self._ends[tokens - 1], share * CHARACTERS_PER_TOKEN)]
        return _Title(text, tokens) if self._allowance.spend(text) else _Title()


class _Windows:
    """Grows chunks to what the model reads: in tokens, and in characters where a token may be any number of them."""

    def __init__(self, text: str, tokenizer: Tokenizer, max_tokens: int) -> None:
        tokens = tokenizer.spans(text)
        self._text = text
        self._starts = [start for start, _ in tokens]
        self._ends = [end for _, end in tokens]
        self._most_characters = max_tokens * CHARACTERS_PER_TOKEN
        self._allowance = Allowance(_MOST_GROWTH)

    def tokens(self, start: int, end: int) -> int:
        """Return how many tokens start in the range."""
        return bisect_left(self._starts, end) - bisect_left(self._starts, start)

    def around(self, start: int, end: int, *, within: _Span, room: int) -> str:
        """Return the chunk with as much before it, then after it, as has `room`."""
        starts, ends = self._starts, self._ends
        first, last = bisect_left(starts, start), bisect_left(starts, end)
        available = bisect_left(starts, within[0]), bisect_left(starts, within[1])
        first = min(first, max(available[0], last - room, bisect_left(starts, end - self._most_characters)))
        begin = min(start, starts[first]) if first < last else start
        reach = begin + self._most_characters
        last = max(last, min(available[1], first + room, bisect_right(ends, reach)))
        chunk = self._text[start:end]
        self._allowance.earn(chunk)
        if first >= last:
            return chunk
        begin, stop = min(start, starts[first]), max(end, ends[last - 1] if ends[last - 1] <= reach else end)
        before, after = self._text[begin:start], self._text[end:stop]
        return f"{before}{chunk}{after}" if self._allowance.spend(before, after) else chunk


def _bounds(chunks: Sequence[_Span], sections: Sequence[tuple[str, ...]]) -> Iterator[_Span]:
    """Yield for each chunk where its section starts and ends."""
    for _, group in groupby(zip(chunks, sections, strict=True), key=lambda pair: pair[1]):
        spans = [span for span, _ in group]
        yield from [(spans[0][0], spans[-1][1])] * len(spans)
