"""What entries and documents are described with, and the limits of each value."""

import json
import math
from typing import Annotated

from pydantic import Field, JsonValue, StringConstraints

from domain.shared.values import Label, WhenMade, storable

MAX_DESCRIPTION = 1_000_000
MAX_TAGS = 50
MAX_ATTRIBUTES_BYTES = 65_536
MAX_ATTRIBUTES_DEPTH = 32
_MOST_VALUES = MAX_ATTRIBUTES_BYTES // 3 + 16
"""Each takes three bytes or more, with the comma and the space after it."""
_TOO_LARGE = f"must not take more than {MAX_ATTRIBUTES_BYTES} bytes as JSON"
_SMALLEST_INTEGER, _LARGEST_INTEGER = -(2**63), 2**63 - 1


def _storable_json(value: dict[str, JsonValue]) -> dict[str, JsonValue]:
    pending: list[tuple[JsonValue, int]] = [(value, 1)]
    values = 0
    while pending:
        item, depth = pending.pop()
        values += 1
        if depth > MAX_ATTRIBUTES_DEPTH:
            raise ValueError(f"must not be nested more than {MAX_ATTRIBUTES_DEPTH} deep")
        if isinstance(item, dict | list):
            if values + len(pending) + len(item) > _MOST_VALUES:
                raise ValueError(_TOO_LARGE)  # without a look at each
            parts = (each for pair in item.items() for each in pair) if isinstance(item, dict) else item
            pending.extend([(each, depth + 1) for each in parts])
        else:
            _require_storable(item)
    if len(json.dumps(value).encode()) > MAX_ATTRIBUTES_BYTES:
        raise ValueError(_TOO_LARGE)
    return value


def _require_storable(item: str | float | bool | None) -> None:  # noqa: FBT001 - any value of JSON without parts
    match item:
        case str():
            storable(item)
        case bool() | None:
            pass
        case int() if not _SMALLEST_INTEGER <= item <= _LARGEST_INTEGER:
            raise ValueError("must not contain integers of more than 64 bits; send them as text")
        case float() if not math.isfinite(item):
            raise ValueError("must not contain numbers that are infinite or no numbers; JSON has none")
        case _:
            pass


def _unique_tags(tags: tuple[str, ...]) -> tuple[str, ...]:
    if len(tags) > MAX_TAGS:
        raise ValueError(f"at most {MAX_TAGS} tags")
    return tuple(sorted(set(tags)))


Name = Annotated[str, StringConstraints(min_length=1, max_length=500, strip_whitespace=True), WhenMade(storable)]
Description = Annotated[str, StringConstraints(max_length=MAX_DESCRIPTION), WhenMade(storable)]
Tags = Annotated[tuple[Label, ...], WhenMade(_unique_tags)]
"""Sorted, each once: the order in which tags were sent means nothing."""
NewTags = Annotated[tuple[Label, ...], Field(max_length=MAX_TAGS, fail_fast=True), WhenMade(_unique_tags)]
"""Tags as they are sent. Those of events have the same limit as a check of their own: their schemas are published."""
Attributes = Annotated[dict[str, JsonValue], WhenMade(_storable_json)]
Relation = Label
Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
FileName = Annotated[str, StringConstraints(min_length=1, max_length=500), WhenMade(storable)]
