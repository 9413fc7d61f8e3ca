"""That a projection could not apply an event is said in the log, where those who audit look."""

from typing import Annotated, ClassVar

from pydantic import Field

from commands.message import Command, Decision, Handling, StreamDecision
from domain.operations.events import EventParked, GenerationNumber, PositionToken, ProjectionName
from domain.shared.access import Permission


class NoteParkedEvent(Command):
    """Say that the event at `position` is parked, with the name of its error; a worker does when it has happened."""

    PERMISSION: ClassVar[Permission] = Permission.OPERATIONS_MANAGE

    projection: ProjectionName
    generation: GenerationNumber
    position: PositionToken
    error: Annotated[str, Field(min_length=1, max_length=200)]
    attempts: Annotated[int, Field(ge=1)]

    def aggregate_id(self) -> str:
        return self.projection


async def note_parked_event(command: NoteParkedEvent, handling: Handling) -> Decision:
    fact_id = handling.new_id()
    return Decision(fact_id, [StreamDecision(f"parked-{fact_id}", 0, [EventParked(**command.model_dump())])])
