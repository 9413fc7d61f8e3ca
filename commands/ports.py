"""What commands need from outside besides the log's streams: how projections stand, for requests about them.

It is the one place where the write side looks at tables that projections have written. It sees generations, lanes and
parked events, never the rows of a read model.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Protocol
from uuid import UUID

from domain.operations.projection import ProjectionState


@dataclass(frozen=True, slots=True)
class Found:
    """A projection's state after every request in the log up to the position `head`."""

    state: ProjectionState
    head: int


@dataclass(frozen=True, slots=True)
class FoundAsOf:
    """Whether something of an id is built or being built, after every request in the log up to `head`."""

    is_there: bool
    head: int


@dataclass(frozen=True, slots=True)
class LogExtent:
    """What the log has.

    Attributes:
        head: the position of its last event, 0 when there is none.
        head_token: the same as a token.
        began_at: when its first event was recorded, None when there is none.
        position: the number of the position that was asked about; None when the present history has no such position.
    """

    head: int
    head_token: str
    began_at: datetime | None
    position: int | None


class Operated(Protocol):
    """Looks at what operators' requests are about.

    Each method raises `StoreUnavailable` when the database can't be reached.
    """

    async def projection(self, name: str, position: str | None = None) -> Found:
        """Return how a projection stands, and its event at `position`, if one is named."""

    async def as_of(self, as_of_id: UUID) -> FoundAsOf:
        """Return whether there is something to drop."""

    async def extent(self, position: str | None = None) -> LogExtent:
        """Return what the log has, and whether `position` is in it."""

    async def has_events(self, tenant: str) -> bool:
        """Whether the log has an event of a tenant."""
