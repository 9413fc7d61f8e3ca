"""What is embedded for a chunk: its title, and as much of its section as the model reads.

A chunk shorter than the model's input reaches into its neighbours of the same section until the input is full. Cosines
of texts of one length compare better: on the retrieval sets this costs English nothing, and lifts a language that the
model does not know (CMRC 2018) from 0.10 to 0.19 nDCG@10, because the length no longer outweighs the content.
"""

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from itertools import groupby

from domain.shared.text import Tokenizer

_TITLE_SHARE = 4  # a title takes at most a quarter of the input
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
    tokens = tokenizer.spans(text)
    starts = [start for start, _ in tokens]
    title_tokens = tokenizer.spans(title)
    embedded = []
    for (start, end), within in zip(chunks, _bounds(chunks, sections), strict=True):
        first, last = bisect_left(starts, start), bisect_left(starts, end)
        titled = min(len(title_tokens), max_tokens // _TITLE_SHARE, max(0, max_tokens - (last - first)))
        heading = title[: title_tokens[titled - 1][1]] if titled else ""
        available = bisect_left(starts, within[0]), bisect_left(starts, within[1])
        first, last = _grown(first, last, room=max_tokens - titled, available=available)
        window = text[min(start, tokens[first][0]) : max(end, tokens[last - 1][1])] if first < last else text[start:end]
        embedded.append(f"{heading}\n{window}" if heading else window)
    return embedded


def _bounds(chunks: Sequence[_Span], sections: Sequence[tuple[str, ...]]) -> Iterator[_Span]:
    """Yield for each chunk where its section starts and ends."""
    for _, group in groupby(zip(chunks, sections, strict=True), key=lambda pair: pair[1]):
        spans = [span for span, _ in group]
        yield from [(spans[0][0], spans[-1][1])] * len(spans)


def _grown(first: int, last: int, *, room: int, available: _Span) -> _Span:
    """Grow a range of tokens to `room`, backwards first: what comes before is what a chunk refers to."""
    first = min(first, max(available[0], last - room))
    return first, max(last, min(available[1], first + room))
