"""Long bodies: their outline, their slices, and the errors that are found in them."""

import json
import time
from contextlib import suppress
from typing import Annotated, Any

import pytest
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict, Field

from api.bodies import BodyCheck
from api.body_outline import MOST_FIELDS, MOST_PLAIN, ExcessiveError, MalformedError, NoObjectError, Outline
from api.body_shape import UnboundedListError, shape_of
from api.knowledge.entries import EntryBatch
from commands.knowledge.create_entry import MAX_BATCH
from domain.knowledge.entry import NewEntry
from tests.api.hostile_bodies import SHAPES, body
from tests.api.turns import collected_rarely


def finished(steps) -> Any:
    while True:
        try:
            next(steps)
        except StopIteration as done:
            return done.value


def checked(model: type[BaseModel], content: bytes) -> Any:
    return finished(BodyCheck(model).steps(content))


def errors_of(model: type[BaseModel], content: bytes) -> list[dict[str, Any]]:
    with pytest.raises(RequestValidationError) as refused:
        checked(model, content)
    return list(refused.value.errors())


VALID = [
    {"name": "a"},
    {"name": 'quotes " and \\ and {[]}', "description": "\\" * 1000 + '"' * 1000},
    {"name": "é😀\u2028", "tags": ["a", "b"], "category": None},
    {"name": "a", "attributes": {"deep": [[{"x": [1.5, -2, True, None, "]"]}]], '"': "\\", "": {}}},
]


@pytest.mark.parametrize("entry", VALID, ids=range(len(VALID)))
@pytest.mark.parametrize("ascii_only", [True, False])
@pytest.mark.parametrize("indent", [None, 3])
def test_a_valid_body_is_the_same_in_slices_as_at_once(entry, ascii_only, indent):
    content = json.dumps(entry, ensure_ascii=ascii_only, indent=indent).encode()
    assert checked(NewEntry, content) == NewEntry.model_validate(entry)
    assert checked(NewEntry, b"\xef\xbb\xbf \n" + content + b"\t\r\n ") == NewEntry.model_validate(entry)
    batch = json.dumps({"entries": VALID}, ensure_ascii=ascii_only, indent=indent).encode()
    assert checked(EntryBatch, batch) == EntryBatch.model_validate({"entries": VALID})


MALFORMED = [
    b"{",
    b"{}}",
    b'{"name"}',
    b'{"name":}',
    b'{"name":"a",}',
    b'{"name":"a" "b":1}',
    b'{"name":"a"',
    b'{"name":"a\\"}',
    b'{"name":"a\\',
    b'{name:"a"}',
    b'{"name":"a"} {}',
    b'{"name":"a","tags":["a"}',
    b'{"name":"a","tags":[}]}',
    b'{"name":tru}',
    b'{"name":"\xff"}',
    b'{"\\x":1}',
    b'{"entries":[{"name":"a"},]}',
    b'{"entries":[,{"name":"a"}]}',
    b'{"entries":[{"name":"a"} {"name":"a"}]}',
    b'{"entries":[{"name":"a"}',
    b"",
]


@pytest.mark.parametrize("content", MALFORMED)
def test_what_is_no_json_is_malformed(content):
    model = EntryBatch if b"entries" in content else NewEntry
    if content == b"":
        assert errors_of(model, content)
        return
    assert [error["type"] for error in errors_of(model, content)] == ["json_invalid"]


@pytest.mark.parametrize("content", [b"[]", b'"a"', b"1", b"null"])
def test_a_body_that_is_no_object_is_invalid(content):
    assert [error["loc"] for error in errors_of(NewEntry, content)] == [("body",)]


def test_the_last_of_equal_names_counts_as_in_any_parser():
    assert checked(NewEntry, b'{"name":"a","name":"b"}').name == "b"
    batch = checked(EntryBatch, b'{"entries":[{"name":"a"}],"\\u0065ntries":[{"name":"b"}]}')
    assert [entry.name for entry in batch.entries] == ["b"]


def test_an_error_of_an_item_says_where():
    errors = errors_of(EntryBatch, b'{"entries":[{"name":"a"},{"name":"","tags":["x",1]}]}')
    assert [error["loc"] for error in errors] == [("body", "entries", 1, "name"), ("body", "entries", 1, "tags", 1)]


def test_items_of_a_list_that_is_too_long_are_not_looked_at():
    content = b'{"entries":[' + b",".join([b"{}"] * (MAX_BATCH + 1)) + b"]}"
    assert [(error["type"], error["loc"]) for error in errors_of(EntryBatch, content)] == [
        ("too_long", ("body", "entries"))
    ]


def test_fields_are_counted_before_they_are_looked_at():
    content = json.dumps({str(number): 1 for number in range(MOST_FIELDS + 1)}).encode()
    assert [error["type"] for error in errors_of(NewEntry, content)] == ["too_many_fields"]


def test_what_one_value_may_hold_besides_its_texts_is_bounded():
    inside = b"1," * (MOST_PLAIN // 2)
    assert errors_of(NewEntry, b'{"name":"a","attributes":{"a":[' + inside + b"1]}}")[0]["type"] == "too_large"
    assert errors_of(NewEntry, b'{"name":' + b"9" * (MOST_PLAIN + 1) + b"}")[0]["type"] == "too_large"


def longest_step(content: bytes) -> float:
    """In seconds of CPU."""
    steps, longest, is_done = BodyCheck(EntryBatch).steps(content), 0.0, False
    while not is_done:
        started = time.thread_time()
        try:
            next(steps)
        except (StopIteration, RequestValidationError):
            is_done = True
        longest = max(longest, time.thread_time() - started)
    return longest


def test_every_step_of_every_hostile_body_is_short():
    """The whole application is measured in `test_hostile_bodies`."""
    with collected_rarely():
        for shape in SHAPES:
            content = body(shape, 1_000_000)
            assert any(longest_step(content) < 0.05 for _ in range(3)), shape


def test_the_time_of_an_outline_is_in_proportion_to_the_body():
    def seconds(content: bytes) -> float:
        started = time.thread_time()
        with suppress(ExcessiveError, MalformedError, NoObjectError):
            finished(Outline(content, {"entries": MAX_BATCH}).fields())
        return time.thread_time() - started

    with collected_rarely():
        for shape in SHAPES:
            short, long = body(shape, 200_000), body(shape, 800_000)
            at_most = 5 * max(min(seconds(short) for _ in range(5)), 0.001)
            assert any(seconds(long) <= at_most for _ in range(5)), shape


def test_an_outline_ends_where_its_body_does():
    with pytest.raises(MalformedError):
        finished(Outline(b'{"a":"' + b"\\" * 100_001, {}).fields())


def test_a_list_in_a_body_has_a_greatest_length():
    class Inner(BaseModel):
        numbers: list[int]

    class Outer(BaseModel):
        inner: Inner | None = None

    with pytest.raises(UnboundedListError, match="numbers"):
        shape_of(Outer)


def test_lists_inside_of_lists_are_counted():
    class Inner(BaseModel):
        model_config = ConfigDict(extra="forbid")

        names: Annotated[list[str], Field(max_length=2)]

    class Outer(BaseModel):
        inner: Annotated[tuple[Inner, ...], Field(max_length=3)]

    shape = shape_of(Outer)
    assert shape.excess({"inner": [{"names": ["a", "b"]}] * 3}) is None
    found = shape.excess({"inner": [{"names": ["a"]}, {"names": [None] * 3}]})
    assert found is not None
    assert found["loc"] == ("inner", 1, "names")
    assert shape.excess({"inner": "a text"}) is None  # that is for pydantic to say
