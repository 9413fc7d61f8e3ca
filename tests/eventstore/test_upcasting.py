"""Old versions of events become the newest one when they are read, and what can't is named."""

from typing import Any, ClassVar

import pytest
from pydantic import ValidationError

from domain.shared.events import (
    Event,
    InvalidUpcasting,
    MissingUpcaster,
    UnusedUpcaster,
    register_events,
)
from eventstore.errors import UnknownEventType, UnknownEventVersion
from eventstore.mapper import EventTypes, PydanticMapper, VersionedStoredEvent, encode
from tests.eventstore.cores import CORE, LayerMeasured

KNOWN = EventTypes(*CORE.events)


class Weighed(Event):
    """Its numbers and texts have to come through an upcaster as they were stored."""

    TOPIC: ClassVar[str] = "tests.Weighed"
    class_version: ClassVar[int] = 2

    grams: float
    count: int
    label: str
    parts: tuple[int, ...]
    note: str

    @staticmethod
    def upcast_v1_v2(state: dict[str, Any]) -> None:
        state["note"] = ""


@pytest.mark.parametrize(
    ("class_version", "data"),
    [
        (1, b'{"depth":"12 cm","layer":1}'),
        (2, b'{"layer":1,"millimetres":120}'),
        (3, b'{"by":null,"layer":1,"millimetres":120}'),
    ],
)
def test_every_version_is_read_as_the_newest(class_version, data):
    event = KNOWN.decode("tests.LayerMeasured", class_version, data)
    assert event == LayerMeasured(layer=1, millimetres=120, by=None)


def test_an_event_of_the_newest_version_is_read_as_it_is():
    data = b'{"by":"ann","layer":1,"millimetres":120}'
    assert encode(KNOWN.decode("tests.LayerMeasured", 3, data)) == data


def test_what_an_upcaster_does_not_touch_stays_exactly_as_it_was_stored():
    rest = '"count":9007199254740993,"grams":0.1,"label":"层 \\u0001 \\"q\\"",'
    stored = f"{{{rest}" + '"parts":[9223372036854775807,-9223372036854775808]}'
    event = EventTypes(Weighed).decode("tests.Weighed", 1, stored.encode())
    assert encode(event).decode() == f"{{{rest}" + '"note":"","parts":[9223372036854775807,-9223372036854775808]}'


def test_the_mapper_upcasts_what_the_library_hands_it():
    stored = VersionedStoredEvent("core-1", 7, LayerMeasured.TOPIC, b'{"depth":"3 cm","layer":2}', class_version=1)
    event = PydanticMapper(KNOWN).to_domain_event(stored)
    assert (event.originator_version, event.event) == (7, LayerMeasured(layer=2, millimetres=30, by=None))


def test_an_unknown_type_is_not_an_unknown_version():
    with pytest.raises(UnknownEventType) as unknown:
        KNOWN.decode("tests.Moved", 1, b"{}")
    assert type(unknown.value) is UnknownEventType
    assert str(unknown.value) == "this code knows no event type tests.Moved, which newer code has stored"


@pytest.mark.parametrize("class_version", [4, 0, -1])
def test_a_version_that_the_class_does_not_have_is_named(class_version):
    with pytest.raises(UnknownEventVersion) as unknown:
        KNOWN.decode("tests.LayerMeasured", class_version, b"not even JSON")
    assert vars(unknown.value) == {
        "topic": "tests.LayerMeasured",
        "class_version": class_version,
        "newest_known": 3,
    }


def test_a_caller_that_waits_for_newer_code_catches_both():
    assert issubclass(UnknownEventVersion, UnknownEventType)


def test_an_old_state_that_does_not_fit_after_upcasting_is_refused():
    with pytest.raises(ValidationError):
        KNOWN.decode("tests.LayerMeasured", 2, b'{"layer":1}')


class Skips(Event):
    TOPIC: ClassVar[str] = "tests.Skips"
    class_version: ClassVar[int] = 3

    @staticmethod
    def upcast_v1_v2(state: dict[str, Any]) -> None: ...


class Unraised(Event):
    TOPIC: ClassVar[str] = "tests.Unraised"

    @staticmethod
    def upcast_v1_v2(state: dict[str, Any]) -> None: ...


class Bound(Event):
    TOPIC: ClassVar[str] = "tests.Bound"
    class_version: ClassVar[int] = 2

    def upcast_v1_v2(self) -> None: ...


class Unnumbered(Event):
    TOPIC: ClassVar[str] = "tests.Unnumbered"
    class_version: ClassVar[int] = 0


REGISTRATIONS = pytest.mark.parametrize("register", [register_events, EventTypes])


@REGISTRATIONS
def test_a_missing_step_is_named_when_the_event_is_registered(register):
    with pytest.raises(MissingUpcaster) as missing:
        register(Skips)
    assert vars(missing.value) == {"topic": "tests.Skips", "class_version": 3, "from_version": 2}
    assert "write @staticmethod def upcast_v2_v3(state)" in str(missing.value)


@REGISTRATIONS
def test_a_version_that_was_not_raised_is_named_when_the_event_is_registered(register):
    with pytest.raises(UnusedUpcaster) as unused:
        register(Unraised)
    assert vars(unused.value) == {"topic": "tests.Unraised", "class_version": 1, "name": "upcast_v1_v2"}


@REGISTRATIONS
def test_a_step_that_is_no_static_method_counts_as_missing(register):
    with pytest.raises(MissingUpcaster):
        register(Bound)


@REGISTRATIONS
def test_a_version_below_one_is_refused_when_the_event_is_registered(register):
    with pytest.raises(InvalidUpcasting, match="a number from 1 to 32767"):
        register(Unnumbered)
