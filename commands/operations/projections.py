"""What operators ask of projections: each request is a fact of the log, and a reactor does what it says.

A request that has nothing to do is refused with what there is, and becomes no fact. Two requests at the same moment are
decided one after the other: each append holds only while no other request about the projection has come since.
"""

from collections.abc import Collection
from typing import Any, ClassVar, Self

from pydantic import BaseModel, ConfigDict, model_validator

from commands.message import Command, Decision, Handler, Handling, StreamDecision
from commands.ports import Operated
from domain.operations.errors import ProjectionNotFound, TenantHasNoEvents
from domain.operations.events import (
    GenerationNumber,
    ParkedEventSkipped,
    ParkedEventsRetryRequested,
    PositionToken,
    ProjectionName,
    ProjectionPaused,
    ProjectionRebuildCancelled,
    ProjectionRebuildRequested,
    ProjectionRequest,
    ProjectionResumed,
    ProjectionRollbackRequested,
    ProjectionSwapRequested,
    Reason,
    RebuildPurpose,
)
from domain.operations.projection import require
from domain.shared.access import Permission
from domain.shared.ids import TenantId
from eventstore.records import Boundary, BoundaryItem


class _AboutProjection(BaseModel):
    """The field that all of these commands have."""

    projection: ProjectionName

    def aggregate_id(self) -> str:
        return self.projection


class RebuildPlan(BaseModel):
    """What a rebuild is for. A repair is of one tenant; what is to be swapped in has the rows of all."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    purpose: RebuildPurpose = "swap"
    tenant: TenantId | None = None

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.purpose == "repair" and self.tenant is None:
            raise ValueError("a repair names its tenant")
        if self.purpose in {"swap", "hold"} and self.tenant is not None:
            raise ValueError("one tenant's rows are verified or repaired; what is swapped in has those of all")
        return self


class RebuildProjection(_AboutProjection, Command):
    """Fill a new generation from the log, beside the live one."""

    PERMISSION: ClassVar[Permission] = Permission.OPERATIONS_MANAGE

    plan: RebuildPlan = RebuildPlan()


class SwapProjection(_AboutProjection, Command):
    """Read the generation that was to wait for this, as soon as it has caught up."""

    PERMISSION: ClassVar[Permission] = Permission.OPERATIONS_MANAGE


class CancelRebuild(_AboutProjection, Command):
    """Give up the generation that is being filled."""

    PERMISSION: ClassVar[Permission] = Permission.OPERATIONS_MANAGE


class RollBackProjection(_AboutProjection, Command):
    """Have the generation before the live one catch up, and be read again."""

    PERMISSION: ClassVar[Permission] = Permission.OPERATIONS_MANAGE


class PauseProjection(_AboutProjection, Command):
    """Let no worker run the projection, or one generation of it; its rows stay as they are, and can be read."""

    PERMISSION: ClassVar[Permission] = Permission.OPERATIONS_MANAGE

    reason: Reason
    generation: GenerationNumber | None = None


class ResumeProjection(_AboutProjection, Command):
    """Let workers run the projection again, or one generation of it, whoever paused it."""

    PERMISSION: ClassVar[Permission] = Permission.OPERATIONS_MANAGE

    generation: GenerationNumber | None = None


class RetryParkedEvents(_AboutProjection, Command):
    """Try again what is parked: the event at `position` and those that wait behind it, or all without one."""

    PERMISSION: ClassVar[Permission] = Permission.OPERATIONS_MANAGE

    position: PositionToken | None = None


class SkipParkedEvent(_AboutProjection, Command):
    """Do without the event at `position`, in this generation and in later ones.

    It is parked, or the projection's lanes stand at it because no running code knows it.
    """

    PERMISSION: ClassVar[Permission] = Permission.OPERATIONS_MANAGE

    position: PositionToken
    reason: Reason


class _Requests:
    """Knows which projections there are, which code says, and looks at how each one stands."""

    def __init__(self, projections: Collection[str], reactors: Collection[str], operated: Operated) -> None:
        self._projections = projections
        self._reactors = reactors
        self._operated = operated

    async def rebuild(self, command: RebuildProjection, handling: Handling) -> Decision:
        plan = command.plan
        event = ProjectionRebuildRequested(projection=command.projection, purpose=plan.purpose, tenant=plan.tenant)
        decision = await self._asked("rebuild", event, handling)
        await require_events(self._operated, plan.tenant)
        return decision

    async def swap(self, command: SwapProjection, handling: Handling) -> Decision:
        return await self._asked("swap", ProjectionSwapRequested(projection=command.projection), handling)

    async def cancel(self, command: CancelRebuild, handling: Handling) -> Decision:
        return await self._asked("cancel", ProjectionRebuildCancelled(projection=command.projection), handling)

    async def roll_back(self, command: RollBackProjection, handling: Handling) -> Decision:
        return await self._asked("rollback", ProjectionRollbackRequested(projection=command.projection), handling)

    async def pause(self, command: PauseProjection, handling: Handling) -> Decision:
        event = ProjectionPaused(projection=command.projection, reason=command.reason, generation=command.generation)
        return await self._asked("pause", event, handling)

    async def resume(self, command: ResumeProjection, handling: Handling) -> Decision:
        event = ProjectionResumed(projection=command.projection, generation=command.generation)
        return await self._asked("resume", event, handling)

    async def retry(self, command: RetryParkedEvents, handling: Handling) -> Decision:
        event = ParkedEventsRetryRequested(projection=command.projection, position=command.position)
        return await self._asked("retry", event, handling, command.position)

    async def skip(self, command: SkipParkedEvent, handling: Handling) -> Decision:
        event = ParkedEventSkipped(projection=command.projection, position=command.position, reason=command.reason)
        return await self._asked("skip", event, handling, command.position)

    async def _asked(
        self, category: str, event: ProjectionRequest, handling: Handling, position: str | None = None
    ) -> Decision:
        may_be_reactor = category in {"retry", "skip"}
        if event.projection not in self._projections and not (may_be_reactor and event.projection in self._reactors):
            raise ProjectionNotFound(event.projection)
        found = await self._operated.projection(event.projection, position)
        require(found.state, event)
        request_id = handling.new_id()
        tag = f"projection:{event.projection}"
        stream = StreamDecision(f"{category}-{request_id}", 0, [event], (tag,))
        return Decision(request_id, [stream], boundary=alone(tag, found.head))


def alone(tag: str, head: int) -> Boundary:
    """Return what holds as long as no other request about the same thing comes after `head`, of the same tenant.

    Of another tenant's, the outcome says whether it was first.
    """
    return Boundary((BoundaryItem(tags=(tag,)),), head)


async def require_events(operated: Operated, tenant: str | None) -> None:
    """Refuse to build rows of a tenant that has none.

    Raises:
        TenantHasNoEvents: the log has no event of it.
    """
    if tenant is not None and not await operated.has_events(tenant):
        raise TenantHasNoEvents(tenant)


def projection_handlers(
    projections: Collection[str], reactors: Collection[str], operated: Operated
) -> dict[type[Command], Handler[Any]]:
    """Return the handlers of the commands about `projections`, the names that operators may use.

    Those of `reactors` they may use for events that are to be skipped or tried again.
    """
    requests = _Requests(projections, reactors, operated)
    return {
        RebuildProjection: requests.rebuild,
        SwapProjection: requests.swap,
        CancelRebuild: requests.cancel,
        RollBackProjection: requests.roll_back,
        PauseProjection: requests.pause,
        ResumeProjection: requests.resume,
        RetryParkedEvents: requests.retry,
        SkipParkedEvent: requests.skip,
    }
