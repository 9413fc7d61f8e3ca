"""An append as rows: what is stored, and what it asks of the log."""

from typing import NamedTuple

from eventstore.records import NO_CLAIMS, Boundary, Claims, Counter, Tracked


class EventRow(NamedTuple):
    """An event as it is stored; `stream` and `version` are None for one that has only tags."""

    stream: str | None
    version: int | None
    topic: str
    class_version: int
    data: bytes
    tags: tuple[str, ...] = ()


class Conditions(NamedTuple):
    """All that an append asks of the log besides the versions that its events follow."""

    expected: tuple[tuple[str, int], ...] = ()
    claims: Claims = NO_CLAIMS
    counters: tuple[Counter, ...] = ()
    tracked: Tracked | None = None
    boundary: Boundary | None = None


NO_CONDITIONS = Conditions()
