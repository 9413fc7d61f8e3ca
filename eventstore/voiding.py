"""Wrong events: a later event voids one, and whoever folds a stream or reads the log then leaves it out.

The voiding event stands in the stream of the voided one, so that the stream's version moves: whoever holds the state of
before gets a conflict. Nothing has to be looked up when a stream is loaded; a state as of an earlier version is the one
that was believed then.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Annotated, ClassVar, TypeVar

from pydantic import Field, StringConstraints

from domain.shared.events import Event
from eventstore.errors import UnknownEventType
from eventstore.records import StreamEvent

T = TypeVar("T")

Stored = tuple[int, str, int, bytes]
"""The version, topic, class version and data of an event of a stream."""
Decode = Callable[[str, int, bytes], Event]


class EventVoided(Event):
    """An earlier event of the log was wrong; `version` is its version in the same stream, None for one without."""

    TOPIC: ClassVar[str] = "log.EventVoided"

    position: Annotated[int, Field(gt=0)]
    version: int | None
    topic: str
    reason: Annotated[str, StringConstraints(min_length=1, max_length=1000, strip_whitespace=True)]


def voided_versions(stream: Iterable[tuple[int, Event]]) -> frozenset[int]:
    """Return the versions to leave out of `stream`, pairs of version and event: the voided ones and those that void."""
    voiding = [(version, event) for version, event in stream if isinstance(event, EventVoided)]
    return frozenset(number for version, event in voiding for number in (version, event.version) if number is not None)


def decoded_but_voided(stored: Sequence[Stored], decode: Decode) -> list[tuple[int, Event]]:
    """Return what is to be folded of a stream, with versions; what is voided is not decoded: it may be unknown.

    Raises:
        UnknownEventType: this code does not know one that was not voided; `version` says which.
    """
    voiding = [event for event in stored if event[1] == EventVoided.TOPIC]
    voided = voided_versions((event[0], decode(*event[1:])) for event in voiding) if voiding else frozenset()
    folded = []
    for version, topic, class_version, data in stored:
        if version not in voided:
            try:
                folded.append((version, decode(topic, class_version, data)))
            except UnknownEventType as error:
                error.version = version
                raise
    return folded


def without_voided(events: Sequence[T]) -> Sequence[T]:
    """Return what is to be folded of a stream's events; what is no event of a stream, such as a snapshot, stays."""
    voided = voided_versions(
        (event.originator_version, event.event) for event in events if isinstance(event, StreamEvent)
    )
    if not voided:
        return events
    return [event for event in events if not isinstance(event, StreamEvent) or event.originator_version not in voided]
