"""The reactor that does what operators ask of projections."""

from collections.abc import Mapping, Sequence
from typing import ClassVar

from domain.operations.events import (
    OPERATIONS_EVENTS,
    ParkedEventSkipped,
    ParkedEventsRetryRequested,
    ProjectionPaused,
    ProjectionRebuildCancelled,
    ProjectionRebuildRequested,
    ProjectionResumed,
    ProjectionRollbackRequested,
)
from domain.shared.events import Event
from eventstore.epochs import read_epochs
from eventstore.errors import ForeignEpoch, InvalidPosition
from eventstore.position import parse_position
from eventstore.records import RecordedEvent
from projections.definition import Connection, Generation, Projection
from projections.generations import cancel_rebuild, pause, resume, roll_back, start_rebuild
from projections.parking import retry, skip


class OperatorRequests(Projection):
    """Changes what stands about projections in PostgreSQL; their workers look at it several times a second.

    A projection that this code does not know is of older or newer code, and left alone; so is a position of a part of
    the log that no longer exists.
    """

    NAME: ClassVar[str] = "operator_requests"
    EVENTS: ClassVar[frozenset[type[Event]]] = frozenset(OPERATIONS_EVENTS)
    IS_REBUILDABLE: ClassVar[bool] = False

    def __init__(self, projections: Mapping[str, Projection]) -> None:
        self._projections = projections

    async def apply(
        self, connection: Connection, generation: Generation, events: Sequence[RecordedEvent], prepared: None
    ) -> None:
        for recorded in events:
            await self._do(connection, recorded.event)

    async def _do(self, connection: Connection, event: Event) -> None:
        match event:
            case ProjectionRebuildRequested(projection=name) if name in self._projections:
                await start_rebuild(connection, self._projections[name])
            case ProjectionRebuildCancelled(projection=name):
                await cancel_rebuild(connection, name)
            case ProjectionRollbackRequested(projection=name):
                await roll_back(connection, name)
            case ProjectionPaused(projection=name, reason=reason):
                await pause(connection, name, reason)
            case ProjectionResumed(projection=name):
                await resume(connection, name)
            case ParkedEventsRetryRequested() | ParkedEventSkipped():
                await _do_with_parked(connection, event)
            case _:
                pass


async def _do_with_parked(connection: Connection, event: ParkedEventsRetryRequested | ParkedEventSkipped) -> None:
    position = None if event.position is None else await _position(connection, event.position)
    if position is None and event.position is not None:
        return
    match event:
        case ParkedEventsRetryRequested():
            await retry(connection, event.projection, position)
        case ParkedEventSkipped() if position is not None:
            await skip(connection, event.projection, position)
        case _:
            pass


async def _position(connection: Connection, token: str) -> int | None:
    try:
        return parse_position(token, await read_epochs(connection))
    except (ForeignEpoch, InvalidPosition):
        return None
