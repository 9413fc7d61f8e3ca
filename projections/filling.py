"""How much a rebuild may hold in memory until it writes: 256 MB of rows, whatever the rows are like."""

import asyncio
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import fields
from functools import cache
from itertools import islice
from operator import attrgetter
from typing import Any

from eventstore.log_filter import DATA
from eventstore.thinning import Thinning
from projections.definition import Bulk

MOST_OCTETS = 256_000_000
_ENOUGH = 3 / 4
"""Of the room: with less left, it would be measured again and again."""
_NEW_ROW_OCTETS = 600
"""Of a row in memory, about, beside the data of its events."""
_WIDEST = 4
_MEASURED_AT_ONCE = 2_000
_CONTAINERS = frozenset({list, dict, tuple, set})
_ROW_OCTETS = 250
"""Of a row beside its values: its own object, its place in a dictionary, and its key."""


class FillRoom:
    """Knows when the rows of a fill have as many bytes as memory may hold.

    To look at all rows takes as long as to fold them. So they are not measured before the events since the last time
    have brought as many bytes as there was room: most rebuilds never get there.
    """

    def __init__(self, bulk: Bulk, thinning: Thinning, most_octets: int | None = None) -> None:
        self._bulk = bulk
        self._thinning = thinning
        self._most = most_octets or MOST_OCTETS
        self._room = self._most
        self._rows = 0

    async def is_used_up_by(self, rows: Sequence[Any]) -> bool:
        """Note that `rows` of the log were folded, too; return whether the fill is to end."""
        more, self._rows = self._bulk.size - self._rows, self._bulk.size
        self._room -= _NEW_ROW_OCTETS * more + sum([_in_memory(row[DATA]) for row in rows])
        if self._room > 0:
            return False
        self._room = self._most - await self._bulk.octets() - self._thinning.octets
        return self._room < self._most * (1 - _ENOUGH)


async def octets_of(rows: Iterable[Any]) -> int:
    """Return how many bytes `rows` have in memory: dataclasses, mappings or keys. The event loop goes on meanwhile."""
    octets, waiting = 0, iter(rows)
    while some := list(islice(waiting, _MEASURED_AT_ONCE)):
        octets += _ROW_OCTETS * len(some) + sum(map(_octets, some))
        await asyncio.sleep(0)
    return octets


def _in_memory(data: bytes) -> int:
    """Return how many bytes the texts in `data` have at the most: one character may make all others four bytes wide."""
    return len(data) if data.isascii() else _WIDEST * len(data)


def _octets(row: Any) -> int:
    match row:
        case tuple():
            values: Iterable[Any] = row
        case dict():
            values = tuple(row.values())
        case _:
            values = _values_of(type(row))(row)  # type: ignore[arg-type]  # mypy takes no class for hashable
    octets = sum(map(sys.getsizeof, values))
    for value in values:
        if type(value) in _CONTAINERS:
            octets += _inner(value)
    return octets


def _inner(container: Any) -> int:
    """Return how many bytes there are in a container: what is in it, at any depth."""
    octets, waiting = 0, [container]
    while waiting:
        each = waiting.pop()
        inside = [*each.keys(), *each.values()] if isinstance(each, dict) else each
        octets += sum(map(sys.getsizeof, inside))
        waiting += [value for value in inside if type(value) in _CONTAINERS]
    return octets


@cache
def _values_of(row_type: type[Any]) -> Callable[[Any], tuple[Any, ...]]:
    names = [field.name for field in fields(row_type)]
    return attrgetter(*names, *names[:1])  # of one name it would return no tuple
