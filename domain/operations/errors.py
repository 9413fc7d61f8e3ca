"""What the operations context refuses."""

from dataclasses import dataclass

from domain.shared.errors import DomainError


@dataclass(eq=False)
class ProjectionNotFound(DomainError):
    """There is no projection of this name that can be rebuilt."""

    projection: str
