"""Refusals that are not of any one context."""

from dataclasses import dataclass
from typing import ClassVar

from domain.shared.errors import DomainError


@dataclass(eq=False)
class VersionMismatch(DomainError):
    """The aggregate has another version than If-Match says; load it again and decide anew."""

    remembered: ClassVar[bool] = False

    expected: int
    actual: int


@dataclass(eq=False)
class ConcurrentChange(DomainError):
    """Others keep changing the aggregate at the same time; try again."""

    remembered: ClassVar[bool] = False

    stream: str


@dataclass(eq=False)
class IdempotencyKeyReused(DomainError):
    """This idempotency key was used for another request; use a new key for a new request."""

    remembered: ClassVar[bool] = False

    key: str


class RememberedRefusal(Exception):
    """The same request was refused before; this is that refusal again."""

    def __init__(self, code: str, sentence: str, data: dict[str, str | int]) -> None:
        super().__init__(sentence)
        self.code = code
        self.data = data
