"""What the store needs to know of a kind of aggregate: its events, its state and how one changes the other."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar
from uuid import UUID

from pydantic import BaseModel

from domain.shared.events import Event

S = TypeVar("S", bound=BaseModel)


@dataclass(frozen=True)
class AggregateType(Generic[S]):
    """A kind of aggregate.

    Attributes:
        category: the first part of its streams' ids, such as ``entry``.
        state: the class of its state; None stands for an aggregate without events.
        evolve: total; returns the state after an event.
        events: the classes of all its events.
        snapshot_version: raised when the state's fields change, so that older snapshots are left aside.
    """

    category: str
    state: type[S]
    evolve: Callable[[S | None, Any], S | None]
    events: tuple[type[Event], ...]
    snapshot_version: int = 1

    def stream(self, aggregate_id: UUID) -> str:
        return f"{self.category}-{aggregate_id}"

    def id_of(self, stream: str) -> UUID:
        """Return the id of the aggregate that has `stream`."""
        return UUID(stream.removeprefix(f"{self.category}-"))
