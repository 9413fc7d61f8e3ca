"""What is embedded for a chunk."""

from hypothesis import given
from hypothesis import strategies as st

from workers.embedding.tokenizer import PatternTokenizer
from workers.embedding.windows import embedding_texts

_TOKENIZER = PatternTokenizer()


def texts(
    text: str,
    chunks: list[tuple[int, int]],
    *,
    title: str = "",
    max_tokens: int = 8,
    sections: list[tuple[str, ...]] | None = None,
) -> list[str]:
    return embedding_texts(
        text,
        chunks,
        sections=sections or [()] * len(chunks),
        title=title,
        tokenizer=_TOKENIZER,
        max_tokens=max_tokens,
    )


def test_a_short_source_is_embedded_whole_under_its_title():
    assert texts("one two three", [(0, 13)], title="Numbers") == ["Numbers\none two three"]


def test_a_short_last_chunk_reaches_back_until_the_input_is_full():
    assert texts("a b c d e f", [(0, 7), (8, 11)], max_tokens=4) == ["a b c d", "c d e f"]


def test_a_short_first_chunk_reaches_forward():
    assert texts("a b c d e f", [(0, 3), (4, 11)], max_tokens=4) == ["a b c d", "c d e f"]


def test_a_chunk_does_not_reach_into_another_section():
    assert texts("a b c d e f", [(0, 3), (4, 7), (8, 11)], sections=[("A",), ("A",), ("B",)]) == [
        "a b c d", "a b c d", "e f",
    ]  # fmt: skip


def test_a_title_takes_at_most_a_quarter_of_the_input():
    assert texts("a b c d", [(0, 7)], title="one two three four") == ["one two\na b c d"]


def test_a_title_takes_no_more_than_the_chunk_leaves():
    assert texts("a b c d e f g", [(0, 13)], title="one two") == ["one\na b c d e f g"]


def test_a_source_without_words_is_left_as_it_is():
    assert texts("   ", [(0, 3)]) == ["   "]


@given(
    words=st.lists(st.text(alphabet="abc噪声.", min_size=1, max_size=5), min_size=1, max_size=30),
    data=st.data(),
    room=st.integers(4, 12),
)
def test_a_chunk_alone_in_its_section_is_embedded_as_it_is(words, data, room):
    text = " ".join(words)
    spans = list(_TOKENIZER.spans(text))
    first = data.draw(st.integers(0, len(spans) - 1))
    last = data.draw(st.integers(first, min(len(spans), first + room) - 1))
    chunk = spans[first][0], spans[last][1]

    (window,) = texts(text, [chunk], max_tokens=room)

    assert window == text[chunk[0] : chunk[1]]


@given(
    words=st.lists(st.text(alphabet="abc噪声.", min_size=1, max_size=5), min_size=1, max_size=30),
    data=st.data(),
    room=st.integers(4, 12),
)
def test_neighbours_fill_the_input_and_never_more(words, data, room):
    text = " ".join(words)
    spans = list(_TOKENIZER.spans(text))
    size = data.draw(st.integers(1, room))
    chunks = [(group[0][0], group[-1][1]) for group in (spans[i : i + size] for i in range(0, len(spans), size))]

    windows = texts(text, chunks, max_tokens=room)

    assert all(text[start:end] in window for (start, end), window in zip(chunks, windows, strict=True))
    assert [len(_TOKENIZER.spans(window)) for window in windows] == [min(room, len(spans))] * len(chunks)
