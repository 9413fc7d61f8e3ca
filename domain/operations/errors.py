"""What the operations context refuses: each refusal says what is there instead of what was asked about."""

from dataclasses import dataclass
from typing import ClassVar
from uuid import UUID

from domain.shared.errors import DomainError


@dataclass(eq=False)
class ProjectionNotFound(DomainError):
    """There is no such projection, or it is one that can't be rebuilt: varve projections list names them."""

    projection: str


@dataclass(eq=False)
class _WithState:
    """The fields of a refusal of a request about a projection: `there` is a sentence about its state."""

    _SUBJECT: ClassVar[str] = "the projection"

    projection: str
    there: str

    def detail(self) -> str:
        sentence = (type(self).__doc__ or "").replace(self._SUBJECT, self.projection)
        return f"{sentence} {self.there}"


@dataclass(eq=False)
class RebuildIsRunning(_WithState, DomainError):
    """A rebuild of the projection is running already; cancel it, or wait for its end."""


@dataclass(eq=False)
class NoRebuildRunning(_WithState, DomainError):
    """No rebuild of the projection is running."""


@dataclass(eq=False)
class RebuildIsNotHeld(_WithState, DomainError):
    """The rebuild of the projection does not wait to be swapped in."""


@dataclass(eq=False)
class NothingToRollBackTo(_WithState, DomainError):
    """There is no generation before the live one that the projection can go back to."""


@dataclass(eq=False)
class GenerationNotThere(_WithState, DomainError):
    """There is no such generation of the projection that workers run."""


@dataclass(eq=False)
class AlreadyPaused(_WithState, DomainError):
    """All that workers could run of the projection is paused already."""


@dataclass(eq=False)
class NothingIsPaused(_WithState, DomainError):
    """Nothing of the projection is paused, so there is nothing to resume."""


@dataclass(eq=False)
class NothingIsParked(_WithState, DomainError):
    """Nothing of the projection is parked, so there is nothing to try again."""


@dataclass(eq=False)
class EventIsNotParked(_WithState, DomainError):
    """The event at this position is not one that the projection has parked."""

    position: str


@dataclass(eq=False)
class EventIsSkippedAlready(_WithState, DomainError):
    """The event at this position is skipped by the projection already."""

    position: str


@dataclass(eq=False)
class TenantHasNoEvents(DomainError):
    """The log has no event of this tenant, so there are no rows to build."""

    tenant: str

    def detail(self) -> str:
        return f"The log has no event of the tenant {self.tenant}, so there are no rows to build."


@dataclass(eq=False)
class AsOfNotThere(DomainError):
    """Nothing of this id is built or being built: it was dropped, or never asked for."""

    as_of: UUID


@dataclass(eq=False)
class AsOfOutsideTheLog(DomainError):
    """The log has no event at or before this moment, or has not come to it yet."""

    wanted: str
    there: str

    def detail(self) -> str:
        return f"The log has nothing as of {self.wanted}. {self.there}"
