"""What is overwritten is not decoded, and everything else comes in its stream's order."""

from collections.abc import Sequence
from itertools import pairwise, zip_longest
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventstore.thinning import Thinning

CREATED, UPDATED, MOVED, LINKED = "created", "updated", "moved", "linked"
OVERWRITING = {UPDATED: 2, MOVED: 1}

# As (stream, topic), each at the next position.
histories = st.lists(
    st.tuples(st.sampled_from("abc"), st.sampled_from([CREATED, UPDATED, MOVED, LINKED])), min_size=1, max_size=40
)


def rows_of(history: Sequence[tuple[str, str]], class_version: int = 1) -> list[Any]:
    return [
        ("acme", position, stream, position, topic, class_version, b"{}", b"{}", None)
        for position, (stream, topic) in enumerate(history, start=1)
    ]


def thinned(rows: Sequence[Any], cuts: Sequence[int] = (), skipped: frozenset[int] = frozenset()) -> list[Any]:
    thinning = Thinning(OVERWRITING, skipped, list)
    edges = [0, *sorted(cut % (len(rows) + 1) for cut in cuts), len(rows)]
    passed = [row for begin, end in pairwise(edges) for row in thinning.events(rows[begin:end])]
    return passed + [row for some in thinning.rest() for row in some]


def of_stream(rows: Sequence[Any], stream: str) -> list[Any]:
    return [row for row in rows if row[2] == stream]


def last_of_each_run(rows: Sequence[Any]) -> list[Any]:
    """Return `rows` of one stream without those that are followed by one of their topic, if that overwrites."""
    followed = zip_longest(rows, rows[1:])
    return [row for row, after in followed if after is None or after[4] != row[4] or row[4] not in OVERWRITING]


@given(histories, st.lists(st.integers(0, 40), max_size=4))
def test_of_each_stream_all_comes_in_order_but_what_is_overwritten(history, cuts):
    rows = rows_of(history)
    passed = thinned(rows, cuts)
    for stream in "abc":
        assert of_stream(passed, stream) == last_of_each_run(of_stream(rows, stream))
    assert len(passed) == sum(len(of_stream(passed, stream)) for stream in "abc")


def test_what_is_skipped_overwrites_nothing():
    rows = rows_of([("a", CREATED), ("a", UPDATED), ("a", UPDATED)])
    assert thinned(rows) == [rows[0], rows[2]]
    assert thinned(rows, skipped=frozenset({3})) == rows[:2]


def test_streams_of_two_tenants_are_two():
    rows = rows_of([("a", UPDATED), ("a", UPDATED)])
    rows[1] = ("umbra", *rows[1][1:])
    assert thinned(rows) == rows


@pytest.mark.parametrize(("version", "passed"), [(1, 1), (2, 1), (3, 3)])
def test_what_newer_code_wrote_is_shown_to_whoever_decodes(version, passed):
    rows = rows_of([("a", UPDATED)] * 3, class_version=version)
    assert len(thinned(rows)) == passed
