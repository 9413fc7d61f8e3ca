"""What operators ask of projections: each request is a fact of the log, and a reactor does what it says."""

from collections.abc import Collection
from typing import Any, ClassVar, Self

from pydantic import BaseModel, ConfigDict, model_validator

from commands.message import Command, Decision, Handler, Handling, StreamDecision
from domain.operations.errors import ProjectionNotFound
from domain.operations.events import (
    GenerationNumber,
    ParkedEventSkipped,
    ParkedEventsRetryRequested,
    PositionToken,
    ProjectionName,
    ProjectionPaused,
    ProjectionRebuildCancelled,
    ProjectionRebuildRequested,
    ProjectionResumed,
    ProjectionRollbackRequested,
    ProjectionSwapRequested,
    Reason,
    RebuildPurpose,
)
from domain.shared.access import Permission
from domain.shared.events import Event
from domain.shared.ids import TenantId


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
    """Knows which projections there are: code, not data, says that."""

    def __init__(self, projections: Collection[str], reactors: Collection[str]) -> None:
        self._projections = projections
        self._reactors = reactors

    async def rebuild(self, command: RebuildProjection, handling: Handling) -> Decision:
        plan = command.plan
        event = ProjectionRebuildRequested(projection=command.projection, purpose=plan.purpose, tenant=plan.tenant)
        return self._asked("rebuild", command.projection, event, handling)

    async def swap(self, command: SwapProjection, handling: Handling) -> Decision:
        return self._asked("swap", command.projection, ProjectionSwapRequested(projection=command.projection), handling)

    async def cancel(self, command: CancelRebuild, handling: Handling) -> Decision:
        event = ProjectionRebuildCancelled(projection=command.projection)
        return self._asked("cancel", command.projection, event, handling)

    async def roll_back(self, command: RollBackProjection, handling: Handling) -> Decision:
        event = ProjectionRollbackRequested(projection=command.projection)
        return self._asked("rollback", command.projection, event, handling)

    async def pause(self, command: PauseProjection, handling: Handling) -> Decision:
        event = ProjectionPaused(projection=command.projection, reason=command.reason, generation=command.generation)
        return self._asked("pause", command.projection, event, handling)

    async def resume(self, command: ResumeProjection, handling: Handling) -> Decision:
        event = ProjectionResumed(projection=command.projection, generation=command.generation)
        return self._asked("resume", command.projection, event, handling)

    async def retry(self, command: RetryParkedEvents, handling: Handling) -> Decision:
        event = ParkedEventsRetryRequested(projection=command.projection, position=command.position)
        return self._asked("retry", command.projection, event, handling)

    async def skip(self, command: SkipParkedEvent, handling: Handling) -> Decision:
        event = ParkedEventSkipped(projection=command.projection, position=command.position, reason=command.reason)
        return self._asked("skip", command.projection, event, handling)

    def _asked(self, category: str, projection: str, event: Event, handling: Handling) -> Decision:
        may_be_reactor = category in {"retry", "skip"}
        if projection not in self._projections and not (may_be_reactor and projection in self._reactors):
            raise ProjectionNotFound(projection)
        request_id = handling.new_id()
        return Decision(request_id, [StreamDecision(f"{category}-{request_id}", 0, [event])])


def projection_handlers(
    projections: Collection[str], reactors: Collection[str] = ()
) -> dict[type[Command], Handler[Any]]:
    """Return the handlers of the commands about `projections`, the names that operators may use.

    Those of `reactors` they may use for events that are to be skipped or tried again.
    """
    requests = _Requests(projections, reactors)
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
