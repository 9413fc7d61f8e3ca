"""What a query is, and what it is answered with."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Generic, Protocol, TypeVar

from pydantic import BaseModel, ConfigDict

from domain.shared.access import Actor, Permission
from queries.ports import Reading, ReadModels, StreamReader

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)
Q_contra = TypeVar("Q_contra", bound="Query", contravariant=True)


class Query(BaseModel):
    """A question. `MODELS` are the read models whose position the answer reports, none for the log itself."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    PERMISSION: ClassVar[Permission]
    MODELS: ClassVar[tuple[str, ...]]
    IS_SHARED: ClassVar[bool] = False
    """Whether its answers are worth a way to Redis: a row by its key is read as fast from PostgreSQL."""

    def models(self) -> tuple[str, ...]:
        """Return those of `MODELS` that this question waits for, when it is asked for a position."""
        return self.MODELS

    def may_be_kept(self) -> bool:
        """Whether the same rows give the same answer at any time, so that it can be given again."""
        return bool(self.MODELS)


@dataclass(frozen=True, slots=True)
class Answer(Generic[T]):
    """The value, and the position of the log that it reflects, but for `parked` events of the tenant.

    `positions` and `versions` are those of the read models that it was made of; without them it is not kept.
    """

    value: T
    position: int
    epoch: str
    parked: int = 0
    positions: Mapping[str, int] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)


def answer_of(value: T, reading: Reading) -> Answer[T]:
    """Return the answer that was made of `reading`."""
    return Answer(value, reading.position, reading.epoch, reading.parked, reading.positions, reading.versions)


@dataclass(frozen=True, slots=True)
class Asking:
    """What the handler of a query may use."""

    actor: Actor
    read_models: ReadModels
    streams: StreamReader


class QueryHandler(Protocol, Generic[Q_contra, T_co]):
    async def __call__(self, query: Q_contra, asking: Asking, /) -> T_co: ...


class Versioned(BaseModel):
    """A view of an aggregate as it is now; its version is the answer's ETag."""

    model_config = ConfigDict(frozen=True)

    version: int


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """Some items of a list, and the cursor after the last of them when there may be more."""

    items: Sequence[T]
    next_cursor: str | None
