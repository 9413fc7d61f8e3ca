"""Events are read from the log as they were made, and what was checked then is not checked again."""

import gc
from pathlib import Path
from typing import Annotated, Any, ClassVar

import pytest
from pydantic import AfterValidator, Field, ValidationError

from domain.knowledge.events import KnowledgeEntryCreated
from domain.shared.events import Event
from domain.shared.values import WhenMade
from eventstore.decoding import collection_put_off, reader_of
from eventstore.mapper import EventTypes, encode
from tests.builders.entries import created
from varve.bootstrap import event_types

EXAMPLES = Path(__file__).parents[2] / "docs" / "events"


def refuse(value: object) -> object:
    raise ValueError(f"{value} is refused")


class Strict(Event):
    """Its checks refuse everything today, wherever they stand."""

    TOPIC: ClassVar[str] = "tests.Strict"
    class_version: ClassVar[int] = 2

    text: Annotated[str, WhenMade(refuse)]
    texts: Annotated[tuple[Annotated[str, WhenMade(refuse)], ...], WhenMade(refuse)]
    by_name: dict[str, Annotated[int, WhenMade(refuse)]]
    maybe: Annotated[str, WhenMade(refuse)] | None
    count: Annotated[int, Field(gt=0)]

    @staticmethod
    def upcast_v1_v2(state: dict[str, Any]) -> None:
        state["count"] = 1


class Shouted(Event):
    TOPIC: ClassVar[str] = "tests.Shouted"

    text: Annotated[str, AfterValidator(str.upper)]


STORED = b'{"by_name":{"a":1},"count":1,"maybe":"m","text":"t","texts":["a","b"]}'


def test_a_check_that_became_stricter_leaves_history_readable():
    event = EventTypes(Strict).decode(Strict.TOPIC, 2, STORED)
    assert (type(event), encode(event)) == (Strict, STORED)
    assert vars(event)["texts"] == ("a", "b")
    with pytest.raises(ValidationError, match="is refused"):
        Strict.model_validate_json(STORED)


def test_what_an_upcaster_has_made_is_checked():
    with pytest.raises(ValidationError, match="is refused"):
        EventTypes(Strict).decode(Strict.TOPIC, 1, STORED.replace(b'"count":1,', b""))


@pytest.mark.parametrize(
    ("stored", "refused"),
    [
        (STORED.replace(b'"text":"t"', b'"text":1'), "text"),
        (STORED.replace(b'"count":1', b'"count":0'), "count"),
        (STORED.replace(b'"count":1,', b""), "count"),
        (STORED.replace(b'"count":1', b'"count":1,"more":1'), "more"),
        (b"not JSON", "Invalid JSON"),
    ],
)
def test_what_does_not_fit_its_class_is_refused(stored, refused):
    with pytest.raises(ValidationError, match=refused):
        reader_of(Strict)(stored)


def test_a_validator_that_is_no_check_of_new_values_stays():
    assert reader_of(Shouted)(b'{"text":"a"}') == Shouted(text="A")


def test_published_examples_are_read_as_with_all_checks():
    known = event_types()
    for event_class in known:
        examples = EXAMPLES / event_class.TOPIC / f"v{event_class.class_version}.examples.jsonl"
        for example in examples.read_bytes().splitlines():
            event = known.decode(event_class.TOPIC, event_class.class_version, example)
            assert event == event_class.model_validate_json(example)
            assert type(event) is event_class
            assert event.model_fields_set == event_class.model_validate_json(example).model_fields_set


def test_an_event_from_the_log_is_frozen():
    event = reader_of(KnowledgeEntryCreated)(encode(created()))
    assert event == created()
    with pytest.raises(ValidationError, match="frozen"):
        event.name = "Another"  # type: ignore[misc]  # what the test is about


def test_garbage_collection_goes_on_after_decoding():
    with collection_put_off():
        assert not gc.isenabled()
    assert gc.isenabled()


def test_garbage_collection_goes_on_after_an_event_that_does_not_fit():
    with pytest.raises(ValidationError), collection_put_off():
        reader_of(Strict)(b"{}")
    assert gc.isenabled()


def test_garbage_collection_that_was_off_stays_off():
    gc.disable()
    try:
        with collection_put_off():
            assert not gc.isenabled()
        assert not gc.isenabled()
    finally:
        gc.enable()
