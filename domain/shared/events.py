"""The base of every event: an immutable fact with a name that never changes and a version that may."""

import inspect
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

from eventsourcing.utils import register_topic
from pydantic import BaseModel, ConfigDict

Upcaster = Callable[[dict[str, Any]], None]
"""Turns a stored state into that of the next version, in place."""

_HIGHEST_VERSION = 2**15 - 1  # the log's column is a smallint
_UPCASTER = re.compile(r"upcast_v(\d+)_v(\d+)")


class Event(BaseModel):
    """A fact of the business, in the past tense and complete.

    `TOPIC` is the stored name: a literal of its own in every class, without a version, never changed. When anything
    about the fields changes, `class_version` is raised by one and a static method ``upcast_v1_v2(state: dict) -> None``
    turns an old stored state into the next one (the scheme of the `eventsourcing` library). Every step since version 1
    stays in the class.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    TOPIC: ClassVar[str]
    class_version: ClassVar[int] = 1


@dataclass(eq=False)
class InvalidUpcasting(TypeError):
    """The versions of an event class and its upcasters do not fit together."""

    topic: str
    class_version: int

    def __str__(self) -> str:
        return f"{self.topic} has the class_version {self.class_version}: {self.advice()}"

    def advice(self) -> str:
        """Return what to do about it."""
        return f"class_version is a number from 1 to {_HIGHEST_VERSION}"


@dataclass(eq=False)
class MissingUpcaster(InvalidUpcasting):
    """Events of a published version would no longer load."""

    from_version: int

    def advice(self) -> str:
        step = f"upcast_v{self.from_version}_v{self.from_version + 1}"
        return f"events of version {self.from_version} are in the log, so write @staticmethod def {step}(state) in it"


@dataclass(eq=False)
class UnusedUpcaster(InvalidUpcasting):
    """A step leads to a version that the class has not reached: raising `class_version` was forgotten."""

    name: str

    def advice(self) -> str:
        return f"raise it to the version that {self.name} leads to, or take that method away"


def register_events(*event_classes: type[Event]) -> None:
    """Make the topics of `event_classes` known to the library, so that no stored name is ever imported.

    Raises:
        TypeError: a class has no `TOPIC` of its own; an inherited one would store two facts under one name.
        InvalidUpcasting: the upcasters of a class do not lead from version 1 to its `class_version`.
    """
    for event_class in event_classes:
        if "TOPIC" not in vars(event_class):
            raise TypeError(f"{event_class.__name__} needs a TOPIC of its own: write TOPIC: ClassVar[str] = '…' in it")
        upcasters_of(event_class)
        register_topic(event_class.TOPIC, event_class)


def upcasters_of(event_class: type[Event]) -> tuple[Upcaster, ...]:
    """Return the steps from version 1 to the class's own, oldest first.

    Raises:
        InvalidUpcasting: as a `MissingUpcaster` or `UnusedUpcaster`, or because the version is no version.
    """
    topic, class_version = event_class.TOPIC, event_class.class_version
    if not 1 <= class_version <= _HIGHEST_VERSION:
        raise InvalidUpcasting(topic, class_version)
    steps = {name: value for name, value in inspect.getmembers_static(event_class) if _UPCASTER.fullmatch(name)}
    wanted = {f"upcast_v{version}_v{version + 1}": version for version in range(1, class_version)}
    for name, version in wanted.items():
        if not isinstance(steps.get(name), staticmethod):
            raise MissingUpcaster(topic, class_version, version)
    for name in steps:
        if name not in wanted:
            raise UnusedUpcaster(topic, class_version, name)
    return tuple(getattr(event_class, name) for name in wanted)
