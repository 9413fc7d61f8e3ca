"""What auditors' operators ask for: read models as they stood at a past position, and that they go again."""

from collections.abc import Collection
from typing import Annotated, Any, ClassVar, Self
from uuid import UUID

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, model_validator

from commands.message import Command, Decision, Handler, Handling, StreamDecision
from domain.operations.errors import ProjectionNotFound
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

    def __init__(self, projections: Collection[str]) -> None:
        self._projections = projections

    async def build(self, command: BuildAsOf, handling: Handling) -> Decision:
        for projection in command.plan.projections:
            if projection not in self._projections:
                raise ProjectionNotFound(projection)
        as_of_id = handling.new_id()
        event = AsOfRequested(as_of_id=as_of_id, **dict(command.plan))
        return Decision(as_of_id, [StreamDecision(f"as-of-{as_of_id}", 0, [event])])

    async def drop(self, command: DropAsOf, handling: Handling) -> Decision:
        request_id = handling.new_id()
        event = AsOfDropped(as_of_id=command.as_of_id)
        return Decision(request_id, [StreamDecision(f"drop-{request_id}", 0, [event])])


def as_of_handlers(projections: Collection[str]) -> dict[type[Command], Handler[Any]]:
    """Return the handlers of the commands about past positions; `projections` are the names that may be used."""
    requests = _Requests(projections)
    return {BuildAsOf: requests.build, DropAsOf: requests.drop}
