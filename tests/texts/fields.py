"""Every text field of every command, as the commands' schemas name them: a step checks, stores and audits it."""

import json
from collections.abc import Iterator, Mapping
from copy import deepcopy
from functools import partial
from typing import Any

from pydantic import ValidationError

from commands.message import Command
from commands.redaction import redacted
from commands.registry import build_handlers
from tests.builders.operated import NothingOperated
from tests.texts.steps import MOST_CHARACTERS, Step

_MOST_ATTRIBUTES = 60_000
_MOST_TAGS = 50
_ITEMS, _FIELDS = "*", "{}"
_UUID = "00000000-0000-4000-8000-000000000001"

Json = Any
Place = tuple[str | int, ...]


def field_steps() -> Mapping[str, Step]:
    """Return a step for each place of a text in each command: its text is as long as the field may be."""
    steps = {}
    for command in build_handlers(("search_text",), (), NothingOperated()):
        schema = command.model_json_schema()
        sample = _sample(schema, schema)
        for place, most in _texts(schema, schema):
            name = ".".join(map(str, (command.name(), *place)))
            steps[name] = Step(partial(_sent, command, sample, place), min(most, MOST_CHARACTERS))
    return steps


def _sent(command: type[Command], sample: Json, place: Place, text: str) -> int:
    """Return the bytes of the command and its audit, or of nothing where it is refused."""
    body = deepcopy(sample)
    _put(body, place, text)
    try:
        made = command.model_validate_json(json.dumps(body))
    except ValidationError:
        return 0
    return len(made.model_dump_json()) + len(json.dumps(redacted(made)))


def _put(body: Json, place: Place, text: str) -> None:
    """Put the text where it belongs: cut into items of a list, or as a field's name and value."""
    above, last, value = place[:-1], place[-1], _value(place[-1], text)
    if last in (_ITEMS, _FIELDS):
        above, last = place[:-2], place[-2]
    for step in above:
        body = body.setdefault(step, {}) if isinstance(body, dict) else body[step]
    body[last] = value


def _value(last: str | int, text: str) -> Json:
    if last == _ITEMS:
        return [text[start : start + 100] for start in range(0, len(text), 100)]
    if last == _FIELDS:
        half = len(text) // 2
        return {text[half:]: text[:half], "nested": [text[:100], {"a": text[:100]}]}
    return text


def _resolved(schema: Json, root: Json) -> Json:
    while "$ref" in schema:
        schema = root["$defs"][schema["$ref"].rsplit("/", 1)[1]]
    for each in schema.get("anyOf", ()):
        if each.get("type") != "null":
            return _resolved(each, root)
    return schema


def _sample(schema: Json, root: Json) -> Json:
    """Return the shortest value of a schema; every list has an item and every object its fields."""
    schema = _resolved(schema, root)
    if "enum" in schema or "const" in schema:
        return schema.get("const", schema.get("enum", [None])[0])
    match schema.get("type"):
        case "object":
            required = schema.get("required", ())
            fields = {name: each for name, each in schema.get("properties", {}).items() if name in required}
            return {name: _sample(each, root) for name, each in fields.items()}
        case "array":
            return [_sample(schema["items"], root)] if schema.get("minItems") else []
        case "integer" | "number":
            return schema.get("minimum", 1)
        case "boolean":
            return False
        case "string" if schema.get("format") == "uuid":
            return _UUID
        case "string" if schema.get("format") == "date-time":
            return "2026-01-01T00:00:00Z"
        case "string":
            return "0" * 64 if "64" in schema.get("pattern", "") else "search_text"
        case _:
            return None


def _texts(schema: Json, root: Json, place: Place = ()) -> Iterator[tuple[Place, int]]:
    schema = _resolved(schema, root)
    match schema.get("type"):
        case "object" if "properties" in schema:
            for name, each in schema["properties"].items():
                yield from _texts(each, root, (*place, name))
        case "object":
            yield (*place, _FIELDS), _MOST_ATTRIBUTES
        case "array" if _resolved(schema["items"], root).get("type") == "string":
            yield (*place, _ITEMS), _MOST_TAGS * 100
        case "array":
            yield from _texts(schema["items"], root, (*place, 0))
        case "string" if not schema.keys() & {"enum", "const", "format"}:
            yield place, schema.get("maxLength", MOST_CHARACTERS)
        case _:
            pass
