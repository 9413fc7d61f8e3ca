"""Texts that PostgreSQL can store: what every context's values are made of."""

from typing import Annotated

from pydantic import AfterValidator, StringConstraints


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


Text = Annotated[str, AfterValidator(storable)]
Label = Annotated[str, StringConstraints(min_length=1, max_length=100, strip_whitespace=True), AfterValidator(storable)]
