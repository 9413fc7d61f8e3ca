"""What entries and documents are described with, and the limits of each value."""

from typing import Annotated

from pydantic import AfterValidator, JsonValue, StringConstraints

MAX_DESCRIPTION = 1_000_000
MAX_TAGS = 50
MAX_ATTRIBUTES_BYTES = 65_536


def _storable(value: str) -> str:
    if "\x00" in value:
        raise ValueError("must not contain the NUL character: PostgreSQL can't store it")
    if any("\ud800" <= character <= "\udfff" for character in value):
        raise ValueError("must not contain lone surrogates: they are not valid Unicode")
    return value


def _storable_json(value: dict[str, JsonValue]) -> dict[str, JsonValue]:
    pending: list[JsonValue] = [value]
    while pending:
        match pending.pop():
            case str() as text:
                _storable(text)
            case dict() as mapping:
                pending.extend(mapping.keys())
                pending.extend(mapping.values())
            case list() as items:
                pending.extend(items)
            case _:
                pass
    return value


def _unique_tags(tags: tuple[str, ...]) -> tuple[str, ...]:
    if len(tags) > MAX_TAGS:
        raise ValueError(f"at most {MAX_TAGS} tags")
    return tuple(sorted(set(tags)))


Text = Annotated[str, AfterValidator(_storable)]
Name = Annotated[Text, StringConstraints(min_length=1, max_length=500, strip_whitespace=True)]
Description = Annotated[Text, StringConstraints(max_length=MAX_DESCRIPTION)]
Label = Annotated[Text, StringConstraints(min_length=1, max_length=100, strip_whitespace=True)]
Tags = Annotated[tuple[Label, ...], AfterValidator(_unique_tags)]
"""Sorted, each once: the order in which tags were sent means nothing."""
Attributes = Annotated[dict[str, JsonValue], AfterValidator(_storable_json)]
Relation = Label
Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
FileName = Annotated[Text, StringConstraints(min_length=1, max_length=500)]
