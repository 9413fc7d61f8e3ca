"""The reactor that begins the rebuilds that operators asked for."""

from collections.abc import Mapping, Sequence
from typing import ClassVar

from domain.operations.events import ProjectionRebuildRequested
from domain.shared.events import Event
from eventstore.records import RecordedEvent
from projections.definition import Connection, Generation, Projection
from projections.generations import start_rebuild


class RebuildRequests(Projection):
    """Makes the next generation's tables; its lanes are then found free and filled like any others."""

    NAME: ClassVar[str] = "rebuild_requests"
    EVENTS: ClassVar[frozenset[type[Event]]] = frozenset({ProjectionRebuildRequested})
    IS_REBUILDABLE: ClassVar[bool] = False

    def __init__(self, projections: Mapping[str, Projection]) -> None:
        self._projections = projections

    async def apply(
        self, connection: Connection, generation: Generation, events: Sequence[RecordedEvent], prepared: None
    ) -> None:
        for recorded in events:
            match recorded.event:
                case ProjectionRebuildRequested(projection=name) if name in self._projections:
                    await start_rebuild(connection, self._projections[name])
                case _:
                    pass  # a projection of older or newer code
