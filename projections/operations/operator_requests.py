"""The reactor that does what operators ask of projections, and keeps what became of each request."""

import zlib
from collections.abc import Mapping, Sequence
from typing import ClassVar, assert_never

from domain.operations.errors import AsOfNotThere
from domain.operations.events import (
    OPERATOR_REQUESTS,
    AsOfDropped,
    AsOfRequested,
    OperatorRequest,
    ParkedEventSkipped,
    ParkedEventsRetryRequested,
    ProjectionPaused,
    ProjectionRebuildCancelled,
    ProjectionRebuildRequested,
    ProjectionRequest,
    ProjectionResumed,
    ProjectionRollbackRequested,
    ProjectionSwapRequested,
)
from domain.operations.projection import require
from domain.shared.errors import DomainError
from domain.shared.events import Event
from eventstore.epochs import read_epochs
from eventstore.errors import ForeignEpoch, InvalidPosition
from eventstore.position import parse_position
from eventstore.records import RecordedEvent
from projections.as_of import AsOf, drop_as_of, position_at, start_as_of
from projections.definition import Connection, Generation, Projection
from projections.generations import LOCK, cancel_rebuild, start_rebuild
from projections.operated import read_state
from projections.operations.outcomes import Done, Refused, record
from projections.parking import is_skipped_by, retry, skip
from projections.rebuilds import ask_for_swap, pause, resume, roll_back


class OperatorRequests(Projection):
    """Changes what stands about projections in PostgreSQL; their workers look at it several times a second.

    Between a request and this, workers and requests of other tenants may have changed the state that it was accepted
    on: it is decided again here, and what has nothing to do any more is refused in its outcome. So is a request about a
    projection that this code does not know, which is of older or newer code.
    """

    NAME: ClassVar[str] = "operator_requests"
    VERSION: ClassVar[int] = 2  # keeps outcomes, which those who wait look for: older code hands over to it
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
        await connection.execute(LOCK)  # what is looked at here stays so until it is changed
        for recorded in events:
            try:
                outcome = await self._carry_out(connection, recorded)
            except DomainError as refusal:
                outcome = Refused(type(refusal).__name__, refusal.detail())
            await record(connection, recorded, outcome)

    async def _carry_out(self, connection: Connection, recorded: RecordedEvent) -> Done | Refused:
        request: OperatorRequest = recorded.event  # type: ignore[assignment]  # no other types are taken
        match request:
            case AsOfRequested():
                return await self._start_as_of(connection, request, recorded.position)
            case AsOfDropped(as_of_id=as_of):
                if not await drop_as_of(connection, as_of):
                    raise AsOfNotThere(as_of)
                return Done(f"{as_of} is dropped.")
            case _:
                return await self._change(connection, request, recorded.position)

    async def _start_as_of(self, connection: Connection, event: AsOfRequested, asked_at: int) -> Done | Refused:
        """Begin what was asked for; what lies in the future is as of the request itself."""
        known = [self._projections[name] for name in event.projections if name in self._projections]
        if not known:
            return _of_other_code(", ".join(event.projections))
        if event.time is not None:
            position = await position_at(connection, event.time, asked_at)
        else:
            try:
                position = min(asked_at, await _position(connection, event.position or ""))
            except (ForeignEpoch, InvalidPosition):
                return Refused("AsOfOutsideTheLog", f"The log has no position {event.position} any more.")
        for projection in known:
            await start_as_of(connection, projection, AsOf(event.as_of_id, position, event.tenant))
        names = ", ".join(projection.NAME for projection in known)
        return Done(f"{names} as of position {position} are being built as {event.as_of_id}.")

    async def _change(self, connection: Connection, request: ProjectionRequest, position: int) -> Done | Refused:
        name = request.projection
        is_of_reactors_too = isinstance(request, ParkedEventsRetryRequested | ParkedEventSkipped)
        if name not in self._projections and not is_of_reactors_too:
            return _of_other_code(name)
        await _require(connection, request, position)
        match request:
            case ProjectionRebuildRequested():
                return await self._rebuild(connection, request)
            case ProjectionSwapRequested():
                number = await _changed(connection, request, await ask_for_swap(connection, name))
                return Done(f"Generation {number} of {name} is read as soon as it has caught up.", name, number)
            case ProjectionRebuildCancelled():
                number = await _changed(connection, request, await cancel_rebuild(connection, name))
                return Done(f"The rebuild of {name} as generation {number} is given up.", name, number)
            case ProjectionRollbackRequested():
                number = await _changed(connection, request, await roll_back(connection, name))
                return Done(f"Generation {number} of {name} is read again as soon as it has caught up.", name, number)
            case ProjectionPaused(reason=reason, generation=number):
                return _paused(name, "is paused", await pause(connection, name, reason, number))
            case ProjectionResumed(generation=number):
                return _paused(name, "is run again", await resume(connection, name, number))
            case ParkedEventsRetryRequested(position=token):
                count = await retry(connection, name, None if token is None else await _position(connection, token))
                return Done(f"{count} parked events of {name} are tried again.", name)
            case ParkedEventSkipped():
                await skip(connection, name, await _position(connection, request.position), position)
                return Done(f"{name} does without the event at {request.position}.", name)
            case _:
                assert_never(request)

    async def _rebuild(self, connection: Connection, request: ProjectionRebuildRequested) -> Done:
        name = request.projection
        made = await start_rebuild(connection, self._projections[name], request.purpose, request.tenant)
        number = None if made is None else made.number
        live = (await read_state(connection, name)).live
        unlike = ""
        if live is not None and live.pause_reason is not None:
            unlike = f", and is not paused as generation {live.number} is"
        return Done(f"{name} is being rebuilt as generation {number}{unlike}.", name, number)


async def _require(connection: Connection, request: ProjectionRequest, position: int | None = None) -> None:
    """Refuse what has nothing to do; the skip at `position` may be done: this reactor stood at the event, too."""
    if position is not None and await is_skipped_by(connection, request.projection, position):
        return
    token = getattr(request, "position", None)
    require(await read_state(connection, request.projection, token), request)


async def _changed(connection: Connection, request: ProjectionRequest, number: int | None) -> int | None:
    """Return the generation that was changed; where the end of a comparison was quicker, refuse with what there is."""
    if number is None:
        await _require(connection, request)
    return number


def _paused(name: str, verb: str, numbers: Sequence[int]) -> Done:
    listed = ", ".join(map(str, numbers))
    return Done(f"{name} {verb}: generation {listed}.", name, numbers[0] if len(numbers) == 1 else None)


def _of_other_code(name: str) -> Refused:
    return Refused("ProjectionNotFound", f"The code of the worker that carries out requests does not know {name}.")


async def _position(connection: Connection, token: str) -> int:
    return parse_position(token, await read_epochs(connection))
