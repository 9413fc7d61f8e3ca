"""The reactor that does what operators ask of projections."""

import contextlib
import zlib
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

    def definition(self) -> str:
        """Return what is newer where a projection is: a rebuild that is asked for is to be one by the newest code."""
        definitions = sorted(projection.definition() for projection in self._projections.values())
        version = self.VERSION + sum(projection.VERSION for projection in self._projections.values())
        return f"{version}.{zlib.crc32(' '.join(definitions).encode()):08x}"

    async def apply(
        self, connection: Connection, generation: Generation, events: Sequence[RecordedEvent], prepared: None
    ) -> None:
        for recorded in events:
            with contextlib.suppress(ForeignEpoch, InvalidPosition):  # of a part of the log that no longer exists
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
            case ParkedEventsRetryRequested(projection=name, position=token):
                await retry(connection, name, None if token is None else await _position(connection, token))
            case ParkedEventSkipped(projection=name, position=token):
                await skip(connection, name, await _position(connection, token))
            case _:
                pass


async def _position(connection: Connection, token: str) -> int:
    return parse_position(token, await read_epochs(connection))
