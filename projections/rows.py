"""Rows by key: those that a batch touches are loaded at once, folded in memory, and written back in key order."""

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import fields
from enum import Enum
from typing import Any, Generic, TypeVar
from uuid import UUID

import orjson
from psycopg.rows import tuple_row

from eventstore.records import RecordedEvent
from projections.definition import BatchTooLargeError, Connection
from projections.slices import in_turns, sliced, sorted_in_turns

R = TypeVar("R")
Key = tuple[Any, ...]


class Gone(Enum):
    """What a step returns instead of a row that is to be deleted."""

    GONE = "gone"


GONE = Gone.GONE
Step = Callable[[R | None, RecordedEvent], R | Gone | None]
"""Makes a key's row of the row before and an event: a row, `GONE`, or None, which leaves it as it is.

The row may be the one before, changed: nobody else has it, and a copy for each event takes longer than all else in a
fold. What a step changed that then raises is forgotten.
"""

_MOST_LOADED_BYTES = 8_000_000
"""Of the rows that one batch loads; a batch that touches more is halved."""
_FEW = 4
"""Keys whose rows are loaded however large they are."""


class KeyedRows(Generic[R]):
    """The rows of one kind of table; `row_type` is a dataclass with a field for each column."""

    def __init__(self, row_type: type[R], wide: str | None = None, **key_types: str) -> None:
        """Name the key's columns with their SQL types, tenant first.

        Args:
            row_type: a dataclass; what its fields hold has JSON that PostgreSQL turns into the columns' types.
            wide: the SQL of how many bytes a row `r` has, where that may be many: ``octet_length(r.description)``.
            key_types: such as ``tenant="text", entry_id="uuid"``.
        """
        self._row_type = row_type
        self._wide = wide
        self._key_types = key_types
        self._columns = [field.name for field in fields(row_type)]  # type: ignore[arg-type]  # R is a dataclass

    def key(self, row: R) -> Key:
        return tuple([getattr(row, name) for name in self._key_types])

    async def load(self, connection: Connection, table: str, keys: Iterable[Key]) -> dict[Key, R]:
        """Return the rows that exist of `keys`.

        Raises:
            BatchTooLargeError: there are several, and they have many megabytes together.
        """
        wanted = list(keys)
        columns = ", ".join(f"r.{name}" for name in self._columns)
        rows = f"{self._keys()} join {table} r using ({', '.join(self._key_types)})"
        cursor = connection.cursor(row_factory=tuple_row)
        if self._wide is None or len(wanted) <= _FEW:
            statement = f"select true, {columns} from {rows}"
        else:  # of rows that do not fit only the first is read: the length of a long value stands in its row
            statement = (
                f"select fits, {columns} from (select r.*, sum({self._wide}) over () <= {_MOST_LOADED_BYTES} as fits,"
                f" row_number() over () = 1 as is_first from {rows}) r where fits or is_first"
            )
        await cursor.execute(statement, columns_of(wanted, len(self._key_types)))
        loaded: dict[Key, R] = {}
        for fits, *values in await cursor.fetchall():
            if not fits:
                raise BatchTooLargeError
            row = self._row_type(*values)
            loaded[self.key(row)] = row
        return loaded

    async def save(self, connection: Connection, table: str, rows: Iterable[R]) -> None:
        """Insert or replace `rows`."""
        updates = ", ".join(f"{name} = excluded.{name}" for name in self._columns if name not in self._key_types)
        await write_rows(
            connection,
            table,
            self._columns,
            rows,
            f"on conflict ({', '.join(self._key_types)}) do update set {updates}",
        )

    async def delete_of(self, connection: Connection, table: str, keys: Iterable[Key]) -> None:
        """Delete the rows of `table`, which may be another one that has the key's columns, that belong to `keys`."""
        own, given = (", ".join(f"{alias}.{name}" for name in self._key_types) for alias in "tk")
        await connection.execute(
            f"delete from {table} t using {self._keys()} where ({own}) = ({given})",
            columns_of(keys, len(self._key_types)),
        )

    def _keys(self) -> str:
        """Return the SQL of keys that are given as arrays: a table `k` with their columns."""
        return f"unnest({arrays_of(self._key_types.values())}) as k ({', '.join(self._key_types)})"

    async def insert(self, connection: Connection, table: str, rows: Iterable[R]) -> None:
        """Insert `rows`, none of which is there."""
        await write_rows(connection, table, self._columns, rows)


def fold_into(
    rows: dict[Key, R],
    events: Iterable[RecordedEvent],
    *,
    key: Callable[[RecordedEvent], Key],
    step: Step[R],
) -> None:
    """Fold each of `events` into the row of its key."""
    for event in events:
        at = key(event)
        before = rows.get(at)
        row = step(before, event)
        if row is GONE:
            rows.pop(at, None)
        elif row is not None and row is not before:
            rows[at] = row


def in_order(keys: Iterable[Key]) -> list[Key]:
    """Return `keys` in the order of a primary key."""
    return sorted(keys, key=_comparable)


async def many_in_order(keys: Collection[Key]) -> list[Key]:
    """Return `keys` as `in_order` does, and let the event loop go on meanwhile."""
    return await sorted_in_turns(keys, _comparable)


def _comparable(key: Key) -> list[Any]:
    """Return what sorts as `key` does: a UUID compares itself in Python, and its integer does not."""
    return [part.int if isinstance(part, UUID) else part for part in key]


async def write_rows(
    connection: Connection, table: str, columns: Sequence[str], rows: Iterable[Any], on_conflict: str = ""
) -> None:
    """Insert rows, some with each statement: dataclasses or mappings that have the columns by their names."""
    names = ", ".join(columns)
    statement = (
        f"insert into {table} ({names}) select {names} "
        f"from jsonb_populate_recordset(null::{table}, %s::jsonb) {on_conflict}"
    )
    async for some in in_turns(sliced(map(orjson.dumps, rows), len)):
        await connection.execute(statement, (f"[{b','.join(some).decode()}]",))


def arrays_of(sql_types: Iterable[str]) -> str:
    """Return the placeholders of arrays, one for each column."""
    return ", ".join(f"%s::{sql_type}[]" for sql_type in sql_types)


def columns_of(rows: Iterable[Sequence[Any]], width: int) -> list[list[Any]]:
    """Return rows of `width` values as arrays, one for each column, as `unnest` takes them."""
    table = list(rows)
    return [[row[column] for row in table] for column in range(width)]
