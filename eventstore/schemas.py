"""The JSON Schema of what an event class stores, and what differs between two of them."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import orjson
from pydantic import JsonValue
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema

from domain.shared.events import Event

Schema = dict[str, JsonValue]

_DIALECT = "https://json-schema.org/draft/2020-12/schema"
_DEFINITION = "#/$defs/"
_NAMED_SCHEMAS = frozenset({"properties", "patternProperties", "$defs"})
_LISTED_SCHEMAS = frozenset({"anyOf", "oneOf", "allOf", "prefixItems"})
_OF_OBJECTS = frozenset({"additionalProperties", "propertyNames"})
_SINGLE_SCHEMAS = frozenset({"items", "contains"}) | _OF_OBJECTS
_TEXTS = frozenset({"title", "description"})
# Titles repeat the names of fields and classes; a discriminator repeats the constants of its union in OpenAPI's words.
_LEFT_OUT = frozenset({"title", "discriminator"})
_IN_ANY_ORDER = frozenset({"required", "enum"})


@dataclass(frozen=True, slots=True)
class Difference:
    """What has changed about a field of an event; `field` is its JSON path, ``$`` the event itself."""

    field: str
    what: str


def schema_of(event_class: type[Event]) -> Schema:
    """Return the schema of the stored JSON (draft 2020-12) that is the same however the Python around it is arranged.

    Definitions are written out where they are used, so that it names fields and no classes; only those that contain
    themselves stay references. The order of fields and of an enumeration's members doesn't show.
    """
    generated: Schema = event_class.model_json_schema(
        mode="serialization", by_alias=False, schema_generator=_SchemaOfBytes
    )
    definitions = generated.pop("$defs", {})
    plain = _WrittenOut(definitions if isinstance(definitions, dict) else {}).event(generated)
    return {"$schema": _DIALECT, "title": event_class.TOPIC, **plain}


def differences(published: Schema, current: Schema) -> list[Difference]:
    """Return what `current` says otherwise than `published`, texts for people left out."""
    return list(_differences(_without_texts(published), _without_texts(current), "$"))


class _SchemaOfBytes(GenerateJsonSchema):
    """Leaves defaults out: a field that has one is stored like any other."""

    def default_schema(self, schema: core_schema.WithDefaultSchema) -> JsonSchemaValue:
        return self.generate_inner(schema["schema"])

    def field_is_required(
        self,
        field: core_schema.ModelField | core_schema.DataclassField | core_schema.TypedDictField,
        total: bool,  # noqa: FBT001 - pydantic's signature
    ) -> bool:
        if field["type"] == "typed-dict-field":
            return super().field_is_required(field, total)
        return field.get("serialization_exclude_if") is None


class _WrittenOut:
    """Puts definitions where a schema refers to them."""

    def __init__(self, definitions: Mapping[str, JsonValue]) -> None:
        self._definitions = definitions
        self._recursive: dict[str, JsonValue] = {}

    def event(self, schema: Schema) -> Schema:
        written = self._schema(schema, ())
        if self._recursive:
            written["$defs"] = self._recursive
        return written

    def _part(self, part: JsonValue, inside: tuple[str, ...]) -> JsonValue:
        return self._schema(part, inside) if isinstance(part, dict) else part

    def _schema(self, schema: Schema, inside: tuple[str, ...]) -> Schema:
        reference = schema.get("$ref")
        if isinstance(reference, str):
            return self._definition(reference, schema, inside)
        kept = {keyword: _ordered(keyword, value) for keyword, value in schema.items() if keyword not in _LEFT_OUT}
        return _with_parts(kept, lambda part: self._part(part, inside))

    def _definition(self, reference: str, schema: Schema, inside: tuple[str, ...]) -> Schema:
        name = reference.removeprefix(_DEFINITION)
        if name in inside:
            self._keep(name)
            return {"$ref": reference}
        beside = {keyword: value for keyword, value in schema.items() if keyword != "$ref"}
        definition = self._definitions[name]
        return self._schema((definition if isinstance(definition, dict) else {}) | beside, (*inside, name))

    def _keep(self, name: str) -> None:
        if name not in self._recursive:
            self._recursive[name] = None  # it may lead to itself again
            self._recursive[name] = self._part(self._definitions[name], (name,))


def _ordered(keyword: str, value: JsonValue) -> JsonValue:
    return sorted(value, key=orjson.dumps) if keyword in _IN_ANY_ORDER and isinstance(value, list) else value


def _with_parts(schema: Schema, change: Callable[[JsonValue], JsonValue]) -> Schema:
    """Return `schema` with each schema right inside it changed; data, such as the values of `enum`, is none."""
    changed: Schema = {}
    for keyword, value in schema.items():
        if keyword in _NAMED_SCHEMAS and isinstance(value, dict):
            changed[keyword] = {name: change(part) for name, part in value.items()}
        elif keyword in _LISTED_SCHEMAS and isinstance(value, list):
            changed[keyword] = [change(part) for part in value]
        else:
            changed[keyword] = change(value) if keyword in _SINGLE_SCHEMAS else value
    return changed


def _without_texts(schema: Schema) -> Schema:
    kept = {keyword: value for keyword, value in schema.items() if keyword not in _TEXTS}
    return _with_parts(kept, lambda part: _without_texts(part) if isinstance(part, dict) else part)


def _differences(published: JsonValue, current: JsonValue, field: str) -> Iterator[Difference]:
    """Yield what differs between two schemas of one field; each is an object, `true` or `false`."""
    if isinstance(published, dict) and isinstance(current, dict):
        for keyword in sorted(published.keys() | current.keys()):
            if (keyword in published) != (keyword in current) or published[keyword] != current[keyword]:
                yield from _difference(keyword, published, current, field)
    elif published != current:
        yield Difference(field, f"it was {_json(published)} and is {_json(current)}")


def _difference(keyword: str, published: Schema, current: Schema, field: str) -> Iterator[Difference]:
    """Yield what differs about a keyword that is not the same: where it can be, the fields in it that do."""
    match published.get(keyword), current.get(keyword):
        case before, after if keyword == "required":
            in_both = _names(published.get("properties")) & _names(current.get("properties"))
            yield from _required(_names(before) & in_both, _names(after) & in_both, field)
        case dict() as before, dict() as after if keyword == "properties":
            yield from _fields(before, after, field)
        case dict() as before, dict() as after if keyword in _SINGLE_SCHEMAS:
            yield from _differences(before, after, f"{field}.*" if keyword in _OF_OBJECTS else f"{field}[*]")
        case list() as before, list() as after if keyword in _LISTED_SCHEMAS and len(before) == len(after):
            for index, (old, new) in enumerate(zip(before, after, strict=True)):
                yield from _differences(old, new, f"{field}[{index}]" if keyword == "prefixItems" else field)
        case before, after if keyword in published and keyword in current:
            yield Difference(field, f"{keyword} was {_json(before)} and is {_json(after)}")
        case before, after:
            is_new = keyword in current
            yield Difference(field, f"{keyword} {'is new' if is_new else 'was'}: {_json(after if is_new else before)}")


def _fields(published: Schema, current: Schema, field: str) -> Iterator[Difference]:
    for name in sorted(published.keys() | current.keys()):
        path = f"{field}.{name}"
        if name not in published:
            yield Difference(path, "the field is new")
        elif name not in current:
            yield Difference(path, "the field is gone")
        else:
            yield from _differences(published[name], current[name], path)


def _required(before: frozenset[str], after: frozenset[str], field: str) -> Iterator[Difference]:
    """Yield what only one requires, of the fields that both have: a field that is new or gone is named as such."""
    for name in sorted(before - after):
        yield Difference(f"{field}.{name}", "it was always there and may be missing")
    for name in sorted(after - before):
        yield Difference(f"{field}.{name}", "it could be missing and is always there")


def _names(value: JsonValue) -> frozenset[str]:
    return frozenset(name for name in value if isinstance(name, str)) if isinstance(value, list | dict) else frozenset()


def _json(value: JsonValue) -> str:
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS).decode()
