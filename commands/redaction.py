"""The part of a command that the audit keeps: enough to know what was asked, not the content itself."""

from collections.abc import Mapping, Sequence
from enum import Enum
from itertools import islice
from typing import Any

from pydantic import BaseModel, JsonValue
from pydantic_core import to_jsonable_python

from eventstore.records import JsonObject

_LONGEST = 200
"""Characters of a text, items of a list, fields of an object."""
_MOST_CHARACTERS = 16_000
"""Of one command, about; objects and lists after that are kept by their length alone."""


def redacted(command: BaseModel) -> JsonObject:
    """Return the fields of `command` as JSON, with long texts and lists replaced by their length.

    Costs as much as the part that is kept, however long the command is.
    """
    return _Redaction().fields({name: getattr(command, name) for name in type(command).model_fields})


class _Redaction:
    def __init__(self) -> None:
        self._left = _MOST_CHARACTERS

    def fields(self, data: Mapping[str, Any]) -> JsonObject:
        return {self._shortened(key): self._value(value) for key, value in islice(data.items(), _LONGEST)}

    def _value(self, value: Any) -> JsonValue:
        self._left -= 4
        match value:
            case Enum():
                return self._value(value.value)
            case str():
                return self._shortened(value)
            case BaseModel():
                return self._object({name: getattr(value, name) for name in type(value).model_fields})
            case Mapping():
                return self._object(value)
            case list() | tuple():
                return self._list(value)
            case bool() | int() | float() | None:
                return value
            case _:
                return self._value(to_jsonable_python(value))

    def _object(self, value: Mapping[str, Any]) -> JsonValue:
        if len(value) > _LONGEST or self._left <= 0:
            return f"({len(value)} fields)"
        return self.fields(value)

    def _list(self, value: Sequence[Any]) -> JsonValue:
        if len(value) > _LONGEST or self._left <= 0:
            return f"({len(value)} items)"
        return [self._value(item) for item in value]

    def _shortened(self, text: str) -> str:
        if len(text) > _LONGEST:
            text = f"({len(text)} characters)"
        self._left -= len(text) + 4
        return text
