"""Keyset pagination: a cursor holds the sort key and the id of the last item, never an offset."""

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeVar
from uuid import UUID

import orjson
from pydantic import TypeAdapter, ValidationError

from queries.errors import InvalidCursor
from queries.message import Page
from queries.ports import Row

T = TypeVar("T")

MOST_OCTETS = 1_000_000
"""Of a page: to read, check and encode it takes some milliseconds, in which no other request is answered."""
_LONGEST_CURSOR = 4_000  # characters; a name of 500 characters, each of 4 bytes, takes 2,700


def encode_cursor(sort: str, values: Sequence[Any]) -> str:
    """Return an opaque, URL-safe cursor for the item with these sort values."""
    return base64.urlsafe_b64encode(orjson.dumps([sort, *values])).rstrip(b"=").decode()


def decode_cursor(cursor: str, sort: str, types: Sequence[TypeAdapter[Any]]) -> list[Any]:
    """Return the sort values that `cursor` holds, each as its type.

    Raises:
        InvalidCursor: it was not made for this sort order.
    """
    if len(cursor) > _LONGEST_CURSOR:
        raise InvalidCursor(cursor)
    try:
        sorted_by, *values = orjson.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
        if sorted_by != sort or len(values) != len(types):
            raise InvalidCursor(cursor)
        return [adapter.validate_python(value) for adapter, value in zip(types, values, strict=True)]
    except (ValueError, TypeError, ValidationError) as error:
        raise InvalidCursor(cursor) from error


@dataclass(frozen=True, slots=True)
class Order:
    """The order of a list within its tenant: by a column, and by the id where that is equal.

    Attributes:
        sort: the column, after a minus for the greatest first.
        alias: of the table in the question's SQL.
        id_column: a UUID.
    """

    sort: str
    alias: str
    id_column: str

    @property
    def column(self) -> str:
        return self.sort.removeprefix("-")

    @property
    def sql(self) -> str:
        """What stands after `order by`; with the tenant first, as the indexes have it."""
        direction = "desc" if self._is_descending else "asc"
        return ", ".join(f"{self.alias}.{column} {direction}" for column in ("tenant", self.column, self.id_column))

    def after(self, cursor: str, column_type: TypeAdapter[Any]) -> tuple[str, dict[str, Any]]:
        """Return the condition on what comes after the item of `cursor`, and its parameters.

        Raises:
            InvalidCursor: it was not made for this sort order.
        """
        value, item_id = decode_cursor(cursor, self.sort, [column_type, TypeAdapter(UUID)])
        condition = (
            f"({self.alias}.{self.column}, {self.alias}.{self.id_column}) "
            f"{'<' if self._is_descending else '>'} (%(after)s, %(after_id)s)"
        )
        return condition, {"after": value, "after_id": item_id}

    @property
    def _is_descending(self) -> bool:
        return self.sort.startswith("-")


def page_of(items: Sequence[T], rows: Sequence[Row], limit: int, sort: str, keys: Sequence[str]) -> Page[T]:
    """Return the first `limit` items; `rows` are theirs, read with one more to know whether there are more."""
    has_more = len(rows) > limit
    cursor = encode_cursor(sort, [rows[limit - 1][key] for key in keys]) if has_more else None
    return Page(items[:limit], cursor)


def bounded(columns: Sequence[str], size: str, rows: str, order: str) -> str:
    """Return the SQL of a page that ends before it has `MOST_OCTETS`, and never before its first row.

    Each row says in `rows_found` how many there are without that bound.

    Args:
        columns: what is wanted of each row, as SQL.
        size: the bytes of a row, as SQL.
        rows: what follows the columns: the tables and conditions.
        order: what follows `order by`.
    """
    return f"""
select bounded.* from (
    select sized.*, sum(sized.octets) over (order by sized.place) - sized.octets as octets_before,
           count(*) over () as rows_found
    from (
        select {", ".join(columns)}, {size} as octets, row_number() over (order by {order}) as place
        {rows} order by {order} limit %(limit)s + 1
    ) sized
) bounded where bounded.octets_before < {MOST_OCTETS} order by bounded.place
"""


def bounded_page(items: Sequence[T], rows: Sequence[Row], limit: int, sort: str, keys: Sequence[str]) -> Page[T]:
    """Return the page of `bounded` rows: it may have fewer than `limit` items, and a cursor all the same."""
    if not rows or rows[0]["rows_found"] == len(rows):
        return page_of(items, rows, limit, sort, keys)
    return page_of(items, [*rows, {}], min(limit, len(rows)), sort, keys)
