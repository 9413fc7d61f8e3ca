"""Keeps the aggregates that this process used last, so that most commands decide without a read.

What is kept may be out of date, for other processes append as well. The append finds that out: it carries the version
of every stream that the decision read, and a conflict makes the caller forget the stream and decide anew. A decision
that appends nothing, a refusal above all, must therefore be made on what is read freshly.
"""

from collections import OrderedDict
from collections.abc import Sequence
from typing import Any, TypeVar
from uuid import UUID

from pydantic import BaseModel

from domain.shared.aggregates import AggregateType
from domain.shared.events import Event
from eventstore.load import AggregateRepository, Loaded, NoteLoad, note_nothing
from eventstore.snapshots import Versioned

S = TypeVar("S", bound=BaseModel)

_MOST_KEPT = 5_000


class AggregateCache:
    """Loads through a repository and keeps the aggregates used last; safe to share between tasks of one loop."""

    def __init__(
        self, repository: AggregateRepository, note_load: NoteLoad = note_nothing, most_kept: int = _MOST_KEPT
    ) -> None:
        """Take where to load from.

        Args:
            repository: loads what is not kept.
            note_load: is told of what appends through this cache make of an aggregate, so that it gets its snapshots.
            most_kept: how many aggregates are kept; the one used longest ago makes room.
        """
        self._repository = repository
        self._note_load = note_load
        self._most_kept = most_kept
        self._kept: OrderedDict[tuple[str, str], Loaded[Any]] = OrderedDict()

    async def load(self, aggregate_type: AggregateType[S], tenant: str, aggregate_id: UUID) -> Loaded[S]:
        """Return the aggregate as it is kept, or else as it is stored; errors are those of the repository."""
        key = (tenant, aggregate_type.stream(aggregate_id))
        if (kept := self._kept.get(key)) is not None:
            self._kept.move_to_end(key)
            return kept
        loaded = await self._repository.load(aggregate_type, tenant, aggregate_id)
        if loaded.state is not None:  # ids that lead nowhere must not push out those that do
            self._keep(key, loaded)
        return loaded

    def is_kept(self, tenant: str, stream: str) -> bool:
        return (tenant, stream) in self._kept

    def forget(self, tenant: str, stream: str) -> None:
        """Read the stream anew when it is loaded next."""
        self._kept.pop((tenant, stream), None)

    def clear(self) -> None:
        """Read everything anew: the log is not the one of before."""
        self._kept.clear()

    def appended(
        self, aggregate_type: AggregateType[S], tenant: str, before: Loaded[S], events: Sequence[Event]
    ) -> None:
        """Keep what `before` has become by `events`, which were stored right after it."""
        key = (tenant, before.stream)
        version = before.version + len(events)
        kept = self._kept.get(key)
        if kept is not None and kept.version > version:
            return  # a later append was answered first
        state = before.state
        for event in events:
            state = aggregate_type.evolve(state, event)
        before.tail.add(events)
        self._note_load(aggregate_type, tenant, Versioned(before.stream, version, state), before.tail)
        self._keep(key, Loaded(before.stream, version, state, before.tail))

    def _keep(self, key: tuple[str, str], loaded: Loaded[Any]) -> None:
        self._kept[key] = loaded
        self._kept.move_to_end(key)
        while len(self._kept) > self._most_kept:
            self._kept.popitem(last=False)
