"""Turns events into the bytes that are stored and back: canonical JSON, typed by topic and class version."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import orjson
from eventsourcing.domain import DomainEventProtocol
from eventsourcing.persistence import JSONTranscoder, Mapper, StoredEvent

from domain.shared.events import Event, Upcaster, upcasters_of
from eventstore.decoding import reader_of
from eventstore.errors import UnknownEventType, UnknownEventVersion
from eventstore.records import StreamEvent


@dataclass(frozen=True, eq=False)
class VersionedStoredEvent(StoredEvent):
    """A stored event of the library with the version of its class beside the bytes instead of inside them."""

    class_version: int = 1

    def __eq__(self, other: object) -> bool:
        return isinstance(other, StoredEvent) and self._key(self) == self._key(other)

    def __hash__(self) -> int:
        return hash(self._key(self))

    @staticmethod
    def _key(stored: StoredEvent) -> tuple[str, int, str, bytes]:
        return str(stored.originator_id), stored.originator_version, stored.topic, stored.state


class EventTypes:
    """The event classes that this code knows, by topic. Nothing stored is ever imported by name.

    Raises:
        InvalidUpcasting: the upcasters of a class do not lead from version 1 to its own; known when a process starts,
            and not when the first old event is read.
    """

    def __init__(self, *event_classes: type[Event]) -> None:
        self._by_topic = {event_class.TOPIC: event_class for event_class in event_classes}
        self._readers = {
            (event_class.TOPIC, version): reader
            for event_class in event_classes
            for version, reader in enumerate(_readers_of(event_class), start=1)
        }

    def __iter__(self) -> Iterator[type[Event]]:
        return iter(self._by_topic.values())

    def decode(self, topic: str, class_version: int, data: bytes) -> Event:
        """Return the event, upcast when it was stored by an older version of its class.

        Raises:
            UnknownEventType: the topic is not of this code.
            UnknownEventVersion: the topic is, and the version is not; a special case of the error before. Nothing is
                wrong with either event, so the caller decides: wait for newer code, pass it by, or refuse.
        """
        try:
            read = self._readers[topic, class_version]
        except KeyError:
            event_class = self._by_topic.get(topic)
            if event_class is None:
                raise UnknownEventType(topic, class_version) from None
            raise UnknownEventVersion(topic, class_version, event_class.class_version) from None
        return read(data)


def _readers_of(event_class: type[Event]) -> Iterator[Callable[[bytes], Event]]:
    """Yield what reads the class's events, for each version from 1 to its own."""
    steps = upcasters_of(event_class)
    for done in range(len(steps)):
        yield partial(_upcast, event_class, steps[done:])
    yield reader_of(event_class)


def _upcast(event_class: type[Event], steps: Sequence[Upcaster], data: bytes) -> Event:
    """Read what the class's own version would have stored: JSON again, and with all checks, since it is made now."""
    state = orjson.loads(data)
    for step in steps:
        step(state)
    return event_class.model_validate_json(canonical_json(state))


def encode(event: Event) -> bytes:
    """Return the event as canonical JSON: UTF-8, sorted keys, no spaces."""
    return canonical_json(event.model_dump(mode="json"))


def canonical_json(value: object) -> bytes:
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)


class PydanticMapper(Mapper[str]):
    """The library's mapper for frozen pydantic events; the stock one can't rebuild them.

    Raises:
        ValidationError: a stored state does not fit its class.
    """

    def __init__(self, event_types: EventTypes) -> None:
        super().__init__(JSONTranscoder())
        self.event_types = event_types

    def to_stored_event(self, domain_event: DomainEventProtocol[str]) -> StoredEvent:
        if not isinstance(domain_event, StreamEvent):
            raise TypeError(f"expected a StreamEvent, not {type(domain_event).__name__}")
        return VersionedStoredEvent(
            originator_id=domain_event.originator_id,
            originator_version=domain_event.originator_version,
            topic=domain_event.event.TOPIC,
            state=encode(domain_event.event),
            class_version=domain_event.event.class_version,
        )

    def to_domain_event(self, stored_event: StoredEvent) -> StreamEvent:
        class_version = stored_event.class_version if isinstance(stored_event, VersionedStoredEvent) else 1
        return StreamEvent(
            originator_id=str(stored_event.originator_id),
            originator_version=stored_event.originator_version,
            event=self.event_types.decode(stored_event.topic, class_version, stored_event.state),
        )
