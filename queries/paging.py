"""Keyset pagination: a cursor holds the sort key and the id of the last item, never an offset."""

import base64
from collections.abc import Sequence
from typing import Any, TypeVar

import orjson
from pydantic import TypeAdapter, ValidationError

from queries.errors import InvalidCursor
from queries.message import Page
from queries.ports import Row

T = TypeVar("T")


def encode_cursor(sort: str, values: Sequence[Any]) -> str:
    """Return an opaque, URL-safe cursor for the item with these sort values."""
    return base64.urlsafe_b64encode(orjson.dumps([sort, *values])).rstrip(b"=").decode()


def decode_cursor(cursor: str, sort: str, types: Sequence[TypeAdapter[Any]]) -> list[Any]:
    """Return the sort values that `cursor` holds, each as its type.

    Raises:
        InvalidCursor: it was not made for this sort order.
    """
    try:
        sorted_by, *values = orjson.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
        if sorted_by != sort or len(values) != len(types):
            raise InvalidCursor(cursor)
        return [adapter.validate_python(value) for adapter, value in zip(types, values, strict=True)]
    except (ValueError, TypeError, ValidationError) as error:
        raise InvalidCursor(cursor) from error


def page_of(items: Sequence[T], rows: Sequence[Row], limit: int, sort: str, keys: Sequence[str]) -> Page[T]:
    """Return the first `limit` items; `rows` are theirs, read with one more to know whether there are more."""
    has_more = len(rows) > limit
    cursor = encode_cursor(sort, [rows[limit - 1][key] for key in keys]) if has_more else None
    return Page(items[:limit], cursor)
