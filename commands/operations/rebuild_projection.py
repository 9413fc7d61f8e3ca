"""Ask for a projection to be rebuilt from the log beside the live one."""

from typing import ClassVar

from commands.message import Command, Decision, Handling, StreamDecision
from domain.operations.events import ProjectionRebuildRequested
from domain.shared.access import Permission


class RebuildProjection(Command):
    PERMISSION: ClassVar[Permission] = Permission.OPERATIONS_MANAGE

    projection: str

    def aggregate_id(self) -> str:
        return self.projection


async def rebuild_projection(command: RebuildProjection, handling: Handling) -> Decision:
    request_id = handling.new_id()
    events = [ProjectionRebuildRequested(projection=command.projection)]
    return Decision(request_id, [StreamDecision(f"rebuild-{request_id}", 0, events)])
