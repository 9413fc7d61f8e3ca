"""The reactor that does what operators ask of projections."""

import contextlib
import zlib
from collections.abc import Mapping, Sequence
from typing import ClassVar

from domain.operations.events import (
    OPERATOR_REQUESTS,
    AsOfDropped,
    AsOfRequested,
    ParkedEventSkipped,
    ParkedEventsRetryRequested,
    ProjectionPaused,
    ProjectionRebuildCancelled,
    ProjectionRebuildRequested,
    ProjectionResumed,
    ProjectionRollbackRequested,
    ProjectionSwapRequested,
)
from domain.shared.events import Event
from eventstore.epochs import read_epochs
from eventstore.errors import ForeignEpoch, InvalidPosition
from eventstore.position import parse_position
from eventstore.records import RecordedEvent
from projections.as_of import AsOf, drop_as_of, position_at, start_as_of
from projections.definition import Connection, Generation, Projection
from projections.generations import cancel_rebuild, start_rebuild
from projections.parking import retry, skip
from projections.rebuilds import ask_for_swap, pause, resume, roll_back


class OperatorRequests(Projection):
    """Changes what stands about projections in PostgreSQL; their workers look at it several times a second.

    A projection that this code does not know is of older or newer code, and left alone; so is a position of a part of
    the log that no longer exists.
    """

    NAME: ClassVar[str] = "operator_requests"
    EVENTS: ClassVar[frozenset[type[Event]]] = frozenset(OPERATOR_REQUESTS)
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
                await self._build(connection, recorded.event, recorded.position)
                await _steer(connection, recorded.event, recorded.position)

    async def _build(self, connection: Connection, event: Event, position: int) -> None:
        """Do what is asked about generations that are built beside the live one."""
        match event:
            case ProjectionRebuildRequested(projection=name) if name in self._projections:
                await start_rebuild(connection, self._projections[name], event.purpose, event.tenant)
            case ProjectionSwapRequested(projection=name):
                await ask_for_swap(connection, name)
            case ProjectionRebuildCancelled(projection=name):
                await cancel_rebuild(connection, name)
            case ProjectionRollbackRequested(projection=name):
                await roll_back(connection, name)
            case AsOfRequested():
                await self._start_as_of(connection, event, position)
            case AsOfDropped(as_of_id=as_of):
                await drop_as_of(connection, as_of)
            case _:
                pass

    async def _start_as_of(self, connection: Connection, event: AsOfRequested, asked_at: int) -> None:
        """Begin what was asked for; what lies in the future is as of the request itself."""
        if event.time is not None:
            position = await position_at(connection, event.time, asked_at)
        else:
            position = min(asked_at, await _position(connection, event.position or ""))
        wanted = AsOf(event.as_of_id, position, event.tenant)
        for name in event.projections:
            if name in self._projections:
                await start_as_of(connection, self._projections[name], wanted)


async def _steer(connection: Connection, event: Event, position: int) -> None:
    """Do what is asked about generations that there are, and about what they have parked."""
    match event:
        case ProjectionPaused(projection=name, reason=reason, generation=number):
            await pause(connection, name, reason, number)
        case ProjectionResumed(projection=name, generation=number):
            await resume(connection, name, number)
        case ParkedEventsRetryRequested(projection=name, position=token):
            await retry(connection, name, None if token is None else await _position(connection, token))
        case ParkedEventSkipped(projection=name, position=token):
            await skip(connection, name, await _position(connection, token), position)
        case _:
            pass


async def _position(connection: Connection, token: str) -> int:
    return parse_position(token, await read_epochs(connection))
