"""Given events, when something is decided, then events, nothing, or a refusal: the words of every decision's test."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import pytest
from pydantic import BaseModel

from domain.shared.aggregates import AggregateType
from domain.shared.errors import DomainError
from domain.shared.events import Event

S = TypeVar("S", bound=BaseModel)

Decide = Callable[[S | None], Sequence[Event]]


@dataclass(frozen=True)
class Given(Generic[S]):
    """An aggregate with a history."""

    state: S | None

    def when(self, decide: Decide[S]) -> "When[S]":
        """Name what is decided; it is asked when its outcome is named."""
        return When(self.state, decide)


@dataclass(frozen=True)
class When(Generic[S]):
    state: S | None
    decide: Decide[S]

    def then(self, *events: Event) -> None:
        """Exactly these events are decided."""
        assert list(self.decide(self.state)) == list(events)

    def then_nothing(self) -> None:
        """The decision is valid and changes nothing."""
        self.then()

    def then_refused(self, refusal: type[DomainError], **data: object) -> None:
        """It is refused with this error, which carries `data`."""
        with pytest.raises(DomainError) as raised:
            self.decide(self.state)
        assert type(raised.value) is refusal
        assert vars(raised.value) == data


def given(aggregate_type: AggregateType[S], *history: Event) -> Given[S]:
    """Start from the state after `history`."""
    return Given(state_after(aggregate_type, *history))


def state_after(aggregate_type: AggregateType[S], *history: Event) -> S | None:
    """Fold `history`."""
    state: S | None = None
    for event in history:
        state = aggregate_type.evolve(state, event)
    return state
