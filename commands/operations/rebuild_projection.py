"""Ask for a projection to be rebuilt from the log beside the live one."""

from collections.abc import Collection
from typing import Annotated, ClassVar

from pydantic import StringConstraints

from commands.message import Command, Decision, Handler, Handling, StreamDecision
from domain.operations.errors import ProjectionNotFound
from domain.operations.events import ProjectionRebuildRequested
from domain.shared.access import Permission

ProjectionName = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]*$", max_length=63)]


class RebuildProjection(Command):
    PERMISSION: ClassVar[Permission] = Permission.OPERATIONS_MANAGE

    projection: ProjectionName

    def aggregate_id(self) -> str:
        return self.projection


def rebuild_handler(rebuildable: Collection[str]) -> Handler[RebuildProjection]:
    """Return the handler that knows which projections there are: code, not data, says that."""

    async def rebuild_projection(command: RebuildProjection, handling: Handling) -> Decision:
        if command.projection not in rebuildable:
            raise ProjectionNotFound(command.projection)
        request_id = handling.new_id()
        events = [ProjectionRebuildRequested(projection=command.projection)]
        return Decision(request_id, [StreamDecision(f"rebuild-{request_id}", 0, events)])

    return rebuild_projection
