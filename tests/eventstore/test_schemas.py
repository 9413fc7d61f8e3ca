"""The schema of an event is that of its bytes; a difference is named by the field that has it."""

from enum import StrEnum
from typing import Annotated, Any, ClassVar, Literal

import pytest
from pydantic import BaseModel, Field, StringConstraints, create_model

from domain.knowledge.events import DocumentProcessed, KnowledgeEntryCreated
from domain.shared.events import Event
from eventstore.schemas import differences, schema_of


class Base(Event):
    TOPIC: ClassVar[str] = "tests.Drilled"


class Grain(StrEnum):
    CLAY = "clay"
    SILT = "silt"


class Layer(BaseModel):
    depth: int
    grain: Grain


class Sand(BaseModel):
    kind: Literal["sand"]
    size: float


class Ice(BaseModel):
    kind: Literal["ice"]


class Tree(BaseModel):
    name: str
    parts: tuple["Tree", ...]


def drilled(**fields: Any) -> type[Event]:
    """An event class with these fields; each a type, or a type and a default."""
    return create_model(
        "Drilled",
        __base__=Base,
        **{name: kind if isinstance(kind, tuple) else (kind, ...) for name, kind in fields.items()},
    )


def changes(before: type[Event], after: type[Event]) -> list[tuple[str, str]]:
    return [(each.field, each.what) for each in differences(schema_of(before), schema_of(after))]


Short = Annotated[str, StringConstraints(max_length=10)]
Long = Annotated[str, StringConstraints(max_length=20)]


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ({"a": int}, {"a": int, "b": int}, [("$.b", "the field is new")]),
        ({"a": int}, {"a": int, "b": (int | None, None)}, [("$.b", "the field is new")]),
        ({"a": int, "b": int}, {"a": int}, [("$.b", "the field is gone")]),
        ({"a": int}, {"b": int}, [("$.a", "the field is gone"), ("$.b", "the field is new")]),
        ({"a": int}, {"a": str}, [("$.a", 'type was "integer" and is "string"')]),
        ({"a": Short}, {"a": Long}, [("$.a", "maxLength was 10 and is 20")]),
        ({"a": Short}, {"a": str}, [("$.a", "maxLength was: 10")]),
        ({"a": str}, {"a": Short}, [("$.a", "maxLength is new: 10")]),
        ({"a": tuple[Short, ...]}, {"a": tuple[Long, ...]}, [("$.a[*]", "maxLength was 10 and is 20")]),
        ({"a": tuple[int, Short]}, {"a": tuple[int, Long]}, [("$.a[1]", "maxLength was 10 and is 20")]),
        ({"a": dict[str, Short]}, {"a": dict[str, Long]}, [("$.a.*", "maxLength was 10 and is 20")]),
        ({"a": Short | None}, {"a": Long | None}, [("$.a", "maxLength was 10 and is 20")]),
    ],
)
def test_a_change_of_a_field_is_named(before, after, expected):
    assert changes(drilled(**before), drilled(**after)) == expected


def test_a_value_more_of_an_enumeration_is_a_change_for_those_who_read_it():
    class Finer(StrEnum):
        CLAY = "clay"
        SILT = "silt"
        SAND = "sand"

    found = changes(drilled(grain=Grain), drilled(grain=Finer))
    assert found == [("$.grain", 'enum was ["clay","silt"] and is ["clay","sand","silt"]')]


def test_a_change_inside_a_nested_value_is_named_by_its_path():
    class Deeper(BaseModel):
        depth: float
        grain: Grain

    found = changes(drilled(layers=tuple[Layer, ...]), drilled(layers=tuple[Deeper, ...]))
    assert found == [("$.layers[*].depth", 'type was "integer" and is "number"')]


def test_a_nullable_field_that_may_no_longer_be_null_is_a_change():
    assert {field for field, _ in changes(drilled(a=int | None), drilled(a=int))} == {"$.a"}


def test_a_field_of_a_nested_value_that_may_be_missing_is_named():
    before = {"properties": {"a": {"properties": {"b": {}}, "required": ["b"]}}}
    after = {"properties": {"a": {"properties": {"b": {}}}}}
    assert [each.field for each in differences(before, after)] == ["$.a.b"]
    assert [each.field for each in differences(after, before)] == ["$.a.b"]


def test_texts_for_people_are_no_difference():
    described = drilled(a=Annotated[int, Field(title="A", description="The first one.")])
    described.__doc__ = "It was drilled."
    assert changes(drilled(a=int), described) == []


def test_fields_that_are_called_like_texts_are_differences():
    assert changes(drilled(), drilled(title=str, description=str)) == [
        ("$.description", "the field is new"),
        ("$.title", "the field is new"),
    ]


def test_the_name_of_a_class_and_the_order_of_fields_and_of_values_are_no_difference():
    class Sort(StrEnum):
        SILT = "silt"
        CLAY = "clay"

    class Stratum(BaseModel):
        grain: Sort
        depth: int

    assert schema_of(drilled(a=int, layer=Layer)) == schema_of(drilled(layer=Stratum, a=int))


def test_a_schema_names_fields_and_no_classes():
    schema = schema_of(drilled(layers=tuple[Layer, ...], what=Annotated[Sand | Ice, Field(discriminator="kind")]))
    assert "$ref" not in str(schema)
    assert schema["properties"]["layers"]["items"]["properties"]["grain"]["enum"] == ["clay", "silt"]
    assert [each["properties"]["kind"]["const"] for each in schema["properties"]["what"]["oneOf"]] == ["sand", "ice"]


def test_a_value_that_contains_itself_stays_a_reference():
    schema = schema_of(drilled(tree=Tree))
    assert schema["properties"]["tree"]["properties"]["parts"]["items"] == {"$ref": "#/$defs/Tree"}
    assert schema["$defs"]["Tree"]["properties"]["parts"]["items"] == {"$ref": "#/$defs/Tree"}


def test_what_has_a_default_is_stored_like_any_other_field():
    class Optional(BaseModel):
        depth: int = 3
        grain: Grain = Grain.CLAY

    assert schema_of(drilled(a=(int, 3), layer=Optional)) == schema_of(drilled(a=int, layer=Layer))


@pytest.mark.parametrize("event_class", [KnowledgeEntryCreated, DocumentProcessed])
def test_fields_called_title_and_description_are_in_the_schema(event_class):
    assert schema_of(event_class)["properties"].keys() == event_class.model_fields.keys()
