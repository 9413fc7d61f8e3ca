"""The facts of the operations context: what operators asked for."""

from typing import Annotated, ClassVar

from pydantic import StringConstraints

from domain.shared.events import Event


class ProjectionRebuildRequested(Event):
    TOPIC: ClassVar[str] = "operations.ProjectionRebuildRequested"

    projection: Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]*$")]


OPERATIONS_EVENTS: tuple[type[Event], ...] = (ProjectionRebuildRequested,)
