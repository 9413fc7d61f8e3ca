"""Answers as they leave the process: encoded once, kept, and sent as they are."""

from dataclasses import dataclass
from typing import Any, Self

from pydantic_core import to_json

from eventstore.position import LogPosition
from queries.message import Answer, Page, Versioned
from queries.search.message import SearchResults


@dataclass(frozen=True, slots=True)
class EncodedAnswer:
    """The JSON of an answer's value, the position that it reflects, and what else its headers say.

    Attributes:
        body: UTF-8.
        position: as a token.
        parked: how many events of the tenant it lacks.
        version: of the aggregate that it shows; None for anything else.
        results: how many items it has.
    """

    body: bytes
    position: str
    parked: int
    version: int | None
    results: int

    @classmethod
    def of(cls, answer: Answer[Any]) -> Self:
        """Encode `answer`."""
        return cls(
            body=to_json(answer.value),
            position=str(LogPosition(answer.epoch, answer.position)),
            parked=answer.parked,
            version=answer.value.version if isinstance(answer.value, Versioned) else None,
            results=_results(answer.value),
        )


def _results(value: Any) -> int:
    """Return how many items a list, a page of one or the hits of a search have; one for anything else."""
    match value:
        case Page(items=items) | SearchResults(hits=items) | (list() as items):
            return len(items)
        case _:
            return 1
