"""The facts of the operations context: what operators asked for."""

from typing import Annotated, ClassVar

from pydantic import StringConstraints

from domain.shared.events import Event

ProjectionName = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]*$", max_length=63)]
PositionToken = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{12}-[0-9]{1,18}$")]
"""A position of the log as it leaves the database."""
Reason = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=1000, pattern=r"^[^\x00]+$")]


class ProjectionRebuildRequested(Event):
    TOPIC: ClassVar[str] = "operations.ProjectionRebuildRequested"

    projection: Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]*$")]


class ProjectionRebuildCancelled(Event):
    """The generation that is being filled is given up; the live one stays as it is."""

    TOPIC: ClassVar[str] = "operations.ProjectionRebuildCancelled"

    projection: ProjectionName


class ProjectionRollbackRequested(Event):
    """The generation before the live one is to be read again, as soon as it has caught up."""

    TOPIC: ClassVar[str] = "operations.ProjectionRollbackRequested"

    projection: ProjectionName


class ProjectionPaused(Event):
    """No worker runs the projection from here on; its rows stay as they are, and can be read."""

    TOPIC: ClassVar[str] = "operations.ProjectionPaused"

    projection: ProjectionName
    reason: Reason


class ProjectionResumed(Event):
    TOPIC: ClassVar[str] = "operations.ProjectionResumed"

    projection: ProjectionName


class ParkedEventsRetryRequested(Event):
    """The projection is to try again what it parked: one event, with those that wait behind it, or all."""

    TOPIC: ClassVar[str] = "operations.ParkedEventsRetryRequested"

    projection: ProjectionName
    position: PositionToken | None


class ParkedEventSkipped(Event):
    """The projection does without an event, in this generation and in every later one."""

    TOPIC: ClassVar[str] = "operations.ParkedEventSkipped"

    projection: ProjectionName
    position: PositionToken
    reason: Reason


OPERATIONS_EVENTS: tuple[type[Event], ...] = (
    ProjectionRebuildRequested,
    ProjectionRebuildCancelled,
    ProjectionRollbackRequested,
    ProjectionPaused,
    ProjectionResumed,
    ParkedEventsRetryRequested,
    ParkedEventSkipped,
)
