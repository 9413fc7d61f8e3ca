"""The base of every event: an immutable fact with a name that never changes and a version that may."""

from typing import ClassVar

from eventsourcing.utils import register_topic
from pydantic import BaseModel, ConfigDict


class Event(BaseModel):
    """A fact of the business, in the past tense and complete.

    `TOPIC` is the stored name: a literal of its own in every class, without a version, never changed. When a field
    changes, `class_version` is raised and a static method ``upcast_v1_v2(state: dict) -> None`` turns an old stored
    state into the next one (the scheme of the `eventsourcing` library).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    TOPIC: ClassVar[str]
    class_version: ClassVar[int] = 1


def register_events(*event_classes: type[Event]) -> None:
    """Make the topics of `event_classes` known to the library, so that no stored name is ever imported.

    Raises:
        TypeError: a class has no `TOPIC` of its own; an inherited one would store two facts under one name.
    """
    for event_class in event_classes:
        if "TOPIC" not in vars(event_class):
            raise TypeError(f"{event_class.__name__} needs a TOPIC of its own: write TOPIC: ClassVar[str] = '…' in it")
        register_topic(event_class.TOPIC, event_class)
