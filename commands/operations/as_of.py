"""What auditors' operators ask for: read models as they stood at a past position, and that they go again."""

from collections.abc import Collection
from datetime import datetime
from typing import Annotated, Any, ClassVar, Self
from uuid import UUID

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, model_validator

from commands.message import Command, Decision, Handler, Handling, StreamDecision
from commands.operations.projections import alone, require_events
from commands.ports import LogExtent, Operated
from domain.operations.errors import AsOfNotThere, AsOfOutsideTheLog, ProjectionNotFound
from domain.operations.events import AsOfDropped, AsOfRequested, PositionToken, ProjectionName
from domain.shared.access import Permission
from domain.shared.ids import TenantId


class AsOfPlan(BaseModel):
    """Which read models, of all tenants or of one, and as of what: a position or a time, one of them."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    projections: Annotated[tuple[ProjectionName, ...], Field(min_length=1, max_length=20)]
    tenant: TenantId | None = None
    position: PositionToken | None = None
    time: AwareDatetime | None = None

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if (self.position is None) == (self.time is None):
            raise ValueError("name a position or a time, and not both")
        return self


class BuildAsOf(Command):
    """Build read models as they stood then, in tables of their own, beside what is read."""

    PERMISSION: ClassVar[Permission] = Permission.OPERATIONS_MANAGE

    plan: AsOfPlan


class DropAsOf(Command):
    """Do without what was built, or is being built."""

    PERMISSION: ClassVar[Permission] = Permission.OPERATIONS_MANAGE

    as_of_id: UUID

    def aggregate_id(self) -> str:
        return str(self.as_of_id)


class _Requests:
    """Knows which projections there are: code, not data, says that."""

    def __init__(self, projections: Collection[str], operated: Operated) -> None:
        self._projections = projections
        self._operated = operated

    async def build(self, command: BuildAsOf, handling: Handling) -> Decision:
        plan = command.plan
        for projection in plan.projections:
            if projection not in self._projections:
                raise ProjectionNotFound(projection)
        _require_in_log(plan, await self._operated.extent(plan.position), handling.now)
        await require_events(self._operated, plan.tenant)
        as_of_id = handling.new_id()
        event = AsOfRequested(as_of_id=as_of_id, **dict(plan))
        return Decision(as_of_id, [StreamDecision(f"as-of-{as_of_id}", 0, [event])])

    async def drop(self, command: DropAsOf, handling: Handling) -> Decision:
        found = await self._operated.as_of(command.as_of_id)
        if not found.is_there:
            raise AsOfNotThere(command.as_of_id)
        request_id = handling.new_id()
        event = AsOfDropped(as_of_id=command.as_of_id)
        tag = f"as-of:{command.as_of_id}"
        stream = StreamDecision(f"drop-{request_id}", 0, [event], (tag,))
        return Decision(request_id, [stream], boundary=alone(tag, found.head))


def _require_in_log(plan: AsOfPlan, log: LogExtent, now: datetime) -> None:
    """Refuse what lies before the log's first event, or in the future: its rows would not be what was asked for.

    Raises:
        AsOfOutsideTheLog: so it is.
    """
    if plan.time is not None:
        if plan.time > now:
            raise AsOfOutsideTheLog(plan.time.isoformat(), f"It is {now.isoformat()} now.")
        if log.began_at is None or plan.time < log.began_at:
            raise AsOfOutsideTheLog(plan.time.isoformat(), _begin_of(log))
    else:
        wanted = str(plan.position)
        if log.position is None:
            raise AsOfOutsideTheLog(wanted, "It is no position of this log's present history.")
        if log.position > log.head:
            raise AsOfOutsideTheLog(wanted, f"It ends at {log.head_token}." if log.head else _begin_of(log))
        if log.position < 1:
            raise AsOfOutsideTheLog(wanted, _begin_of(log))


def _begin_of(log: LogExtent) -> str:
    if log.began_at is None:
        return "It is empty."
    return f"Its first event was recorded at {log.began_at.isoformat()}, at the position 1."


def as_of_handlers(projections: Collection[str], operated: Operated) -> dict[type[Command], Handler[Any]]:
    """Return the handlers of the commands about past positions; `projections` are the names that may be used."""
    requests = _Requests(projections, operated)
    return {BuildAsOf: requests.build, DropAsOf: requests.drop}
