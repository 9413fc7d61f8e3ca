"""How much a rebuild may hold in memory until it writes: 256 MB of rows, whatever the rows are like."""

import asyncio
import sys
from collections.abc import Iterable, Sequence
from dataclasses import fields, is_dataclass
from functools import cache
from itertools import islice
from typing import Any

from eventstore.log_filter import DATA
from eventstore.thinning import Thinning
from projections.definition import Bulk

MOST_OCTETS = 256_000_000
_ENOUGH = 3 / 4
"""Of the room: with less left, it would be measured again and again."""
_EVENT_OCTETS = 500
"""Of the row that an event makes, in memory, beside twice the event's data."""
_MEASURED_AT_ONCE = 2_000
_ROW_OCTETS = 150
"""Of a row beside its values: its place in a dictionary, and its key."""


class FillRoom:
    """Knows when the rows of a fill have as many bytes as memory may hold.

    To look at all rows takes a while. So they are not measured before those that the events since the last time would
    make, had each its own, have as many bytes as there was room: most rebuilds never get there.
    """

    def __init__(self, bulk: Bulk, thinning: Thinning, most_octets: int | None = None) -> None:
        self._bulk = bulk
        self._thinning = thinning
        self._most = most_octets or MOST_OCTETS
        self._room = self._most

    async def is_used_up_by(self, rows: Sequence[Any]) -> bool:
        """Note that `rows` of the log were folded, too; return whether the fill is to end."""
        self._room -= _EVENT_OCTETS * len(rows) + 2 * sum([len(row[DATA]) for row in rows])
        if self._room > 0:
            return False
        self._room = self._most - await self._bulk.octets() - self._thinning.octets
        return self._room < self._most * (1 - _ENOUGH)


async def octets_of(rows: Iterable[Any]) -> int:
    """Return how many bytes `rows` have in memory, and let the event loop go on meanwhile."""
    octets, waiting = 0, iter(rows)
    while some := list(islice(waiting, _MEASURED_AT_ONCE)):
        octets += sum(_ROW_OCTETS + _octets(row) for row in some)
        await asyncio.sleep(0)
    return octets


def _octets(value: Any) -> int:
    match value:
        case str() | bytes() | int() | float() | None:
            return sys.getsizeof(value)
        case dict():
            return sys.getsizeof(value) + sum(_octets(key) + _octets(each) for key, each in value.items())
        case list() | tuple() | set():
            return sys.getsizeof(value) + sum(map(_octets, value))
        case _ if is_dataclass(value) and not isinstance(value, type):
            return sys.getsizeof(value) + sum(_octets(getattr(value, name)) for name in _names(type(value)))
        case _:
            return sys.getsizeof(value)


@cache
def _names(row_type: type[Any]) -> tuple[str, ...]:
    return tuple(field.name for field in fields(row_type))
