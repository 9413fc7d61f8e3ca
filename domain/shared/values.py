"""Texts that PostgreSQL can store: what every context's values are made of."""

from typing import Annotated, Any

from pydantic import AfterValidator, GetCoreSchemaHandler, StringConstraints

CHECKED_WHEN_MADE = "varve_checked_when_made"
"""Marks, in the metadata of pydantic's core schema, what a reader of the log leaves out."""


class WhenMade(AfterValidator):
    """Checks a value when it is made, and not again whenever it is read from the log, where only checked ones are.

    It may put a value in order as well, such as sort it, but what it returns is of the same type and passes again.
    """

    def __get_pydantic_core_schema__(self, source_type: Any, handler: GetCoreSchemaHandler) -> Any:
        schema: Any = super().__get_pydantic_core_schema__(source_type, handler)
        schema["metadata"] = {**schema.get("metadata", {}), CHECKED_WHEN_MADE: True}
        return schema


def storable(value: str) -> str:
    """Return `value`, or refuse what PostgreSQL or UTF-8 has no place for.

    Raises:
        ValueError: it holds a NUL character or a lone surrogate.
    """
    if "\x00" in value:
        raise ValueError("must not contain the NUL character: PostgreSQL can't store it")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise ValueError("must not contain lone surrogates: they are not valid Unicode") from error
    return value


Text = Annotated[str, WhenMade(storable)]
Label = Annotated[str, StringConstraints(min_length=1, max_length=100, strip_whitespace=True), WhenMade(storable)]
