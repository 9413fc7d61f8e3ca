"""What is kept of a search that was answered: how long it took and what it found, not what was asked."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from queries.message import Query
from queries.search.message import Search


@dataclass(frozen=True, slots=True)
class CompletedSearch:
    """One search.

    Attributes:
        tenant: whose.
        query: all that was asked; only a keyed hash of it may be kept.
        seconds: from the permission to the answer.
        hits: how many passages were answered.
        is_cached: whether the answer came from the cache.
    """

    tenant: str
    query: Search
    seconds: float
    hits: int
    is_cached: bool = False


class SearchRecords(Protocol):
    """Takes note of searches, or of a sample of them; never waits, never fails."""

    def note(self, search: CompletedSearch, /) -> None: ...


def noting_hits(records: SearchRecords) -> Callable[[str, Query, int], None]:
    """Return what the cache tells of its hits: searches among them are noted, answered in no time."""

    def note(tenant: str, query: Query, results: int) -> None:
        if isinstance(query, Search):
            records.note(CompletedSearch(tenant, query, 0.0, results, is_cached=True))

    return note
