"""Cuts work into slices that hold an event loop for some milliseconds each: what is written, what is sorted."""

import asyncio
import heapq
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Iterator
from itertools import islice
from typing import Any, TypeVar

T = TypeVar("T")

MOST_BYTES = 500_000
"""Of one statement's parameters. psycopg makes their text on the event loop: some milliseconds."""
_MOST_ITEMS = 5_000
_MOST_BYTES_OF_A_CHARACTER = 4


def sliced(
    items: Iterable[T], size: Callable[[T], int], *, most_bytes: int = MOST_BYTES, most_items: int = _MOST_ITEMS
) -> Iterator[list[T]]:
    """Yield `items` in order, as many at once as have no more than `most_bytes` together; one always fits.

    Args:
        items: what is cut.
        size: about how many bytes an item has.
        most_bytes: of a slice of more than one item.
        most_items: of a slice.
    """
    waiting: list[T] = []
    octets = 0
    for item in items:
        own = size(item)
        if waiting and (octets + own > most_bytes or len(waiting) == most_items):
            yield waiting
            waiting, octets = [], 0
        waiting.append(item)
        octets += own
    if waiting:
        yield waiting


async def in_turns(slices: Iterable[T]) -> AsyncIterator[T]:
    """Yield `slices`, and let the event loop go on before each but the first."""
    is_first = True
    for each in slices:
        if not is_first:
            await asyncio.sleep(0)
        is_first = False
        yield each


async def sorted_in_turns(items: Collection[T], key: Callable[[T], Any] | None = None) -> list[T]:
    """Return `items` sorted. Sorting lets no other thread go on, so that many are sorted in runs and merged."""
    if len(items) <= _MOST_ITEMS:
        return sorted(items, key=key)  # type: ignore[type-var,arg-type]  # the caller's items or keys compare
    waiting = iter(items)
    runs: list[list[T]] = []
    while run := list(islice(waiting, _MOST_ITEMS)):
        runs.append(sorted(run, key=key))  # type: ignore[type-var,arg-type]  # as above
        await asyncio.sleep(0)
    merging: Iterator[T] = heapq.merge(*runs, key=key)  # type: ignore[arg-type]  # as above
    merged: list[T] = []
    while some := list(islice(merging, _MOST_ITEMS)):
        merged += some
        await asyncio.sleep(0)
    return merged


def bytes_of(text: str) -> int:
    """Return how many bytes `text` has in UTF-8, at the most."""
    return len(text) if text.isascii() else len(text) * _MOST_BYTES_OF_A_CHARACTER
