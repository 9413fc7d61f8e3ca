"""The facts of the operations context: what operators asked for, and what they have to know."""

from typing import Annotated, Any, ClassVar, Literal
from uuid import UUID

from pydantic import AwareDatetime, Field, StringConstraints

from domain.shared.events import Event
from domain.shared.ids import TenantId

ProjectionName = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]*$", max_length=63)]
PositionToken = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{12}-[0-9]{1,18}$")]
"""A position of the log as it leaves the database."""
GenerationNumber = Annotated[int, Field(ge=1, lt=2**31)]
Reason = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=1000, pattern=r"^[^\x00]+$")]


RebuildPurpose = Literal["swap", "hold", "verify", "repair"]
"""Whether the new rows are read when they have caught up, or when that is asked for (hold), or only compared with those
that are read, or put among them (repair)."""


class ProjectionRebuildRequested(Event):
    """A new generation is to be filled from the log, with the rows of all tenants or of one."""

    TOPIC: ClassVar[str] = "operations.ProjectionRebuildRequested"
    class_version: ClassVar[int] = 2

    projection: Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]*$")]
    purpose: RebuildPurpose
    tenant: TenantId | None

    @staticmethod
    def upcast_v1_v2(state: dict[str, Any]) -> None:
        state |= {"purpose": "swap", "tenant": None}


class ProjectionSwapRequested(Event):
    """The generation that waits for being asked is to be read, as soon as it has caught up."""

    TOPIC: ClassVar[str] = "operations.ProjectionSwapRequested"

    projection: ProjectionName


class ProjectionRebuildCancelled(Event):
    """The generation that is being filled is given up; the live one stays as it is."""

    TOPIC: ClassVar[str] = "operations.ProjectionRebuildCancelled"

    projection: ProjectionName


class ProjectionRollbackRequested(Event):
    """The generation before the live one is to be read again, as soon as it has caught up."""

    TOPIC: ClassVar[str] = "operations.ProjectionRollbackRequested"

    projection: ProjectionName


class ProjectionPaused(Event):
    """No worker runs the projection from here on, or one generation; its rows stay as they are, and can be read."""

    TOPIC: ClassVar[str] = "operations.ProjectionPaused"
    class_version: ClassVar[int] = 2

    projection: ProjectionName
    reason: Reason
    generation: GenerationNumber | None

    @staticmethod
    def upcast_v1_v2(state: dict[str, Any]) -> None:
        state["generation"] = None


class ProjectionResumed(Event):
    """Workers run the projection again, or one generation of it."""

    TOPIC: ClassVar[str] = "operations.ProjectionResumed"
    class_version: ClassVar[int] = 2

    projection: ProjectionName
    generation: GenerationNumber | None

    @staticmethod
    def upcast_v1_v2(state: dict[str, Any]) -> None:
        state["generation"] = None


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


class AsOfRequested(Event):
    """Read models are to be built as they stood at a position or a time, for those who audit."""

    TOPIC: ClassVar[str] = "operations.AsOfRequested"

    as_of_id: UUID
    projections: Annotated[tuple[ProjectionName, ...], Field(min_length=1, max_length=20)]
    tenant: TenantId | None
    position: PositionToken | None
    time: AwareDatetime | None


class AsOfDropped(Event):
    """What was built as of a position is not needed any more."""

    TOPIC: ClassVar[str] = "operations.AsOfDropped"

    as_of_id: UUID


class EventParked(Event):
    """A projection could not apply an event; it waits to be retried or skipped, and what follows it waits behind."""

    TOPIC: ClassVar[str] = "operations.EventParked"

    projection: ProjectionName
    generation: GenerationNumber
    position: PositionToken
    error: Annotated[str, StringConstraints(min_length=1, max_length=200)]
    attempts: Annotated[int, Field(ge=1)]


ProjectionRequest = (
    ProjectionRebuildRequested
    | ProjectionSwapRequested
    | ProjectionRebuildCancelled
    | ProjectionRollbackRequested
    | ProjectionPaused
    | ProjectionResumed
    | ParkedEventsRetryRequested
    | ParkedEventSkipped
)
"""An operator's request about one projection."""
OperatorRequest = ProjectionRequest | AsOfRequested | AsOfDropped

OPERATOR_REQUESTS: tuple[type[Event], ...] = (
    ProjectionRebuildRequested,
    ProjectionSwapRequested,
    ProjectionRebuildCancelled,
    ProjectionRollbackRequested,
    ProjectionPaused,
    ProjectionResumed,
    ParkedEventsRetryRequested,
    ParkedEventSkipped,
    AsOfRequested,
    AsOfDropped,
)
OPERATIONS_EVENTS: tuple[type[Event], ...] = (*OPERATOR_REQUESTS, EventParked)
