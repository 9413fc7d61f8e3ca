"""Rows by key: those that a batch touches are loaded at once, folded in memory, and written back in key order."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import fields
from enum import Enum
from typing import Any, Generic, TypeVar
from uuid import UUID

import orjson
from psycopg.rows import class_row

from eventstore.records import RecordedEvent
from projections.definition import Connection

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

_WRITTEN_AT_ONCE = 5_000
"""Rows of one statement: some megabytes."""


class KeyedRows(Generic[R]):
    """The rows of one kind of table; `row_type` is a dataclass with a field for each column."""

    def __init__(self, row_type: type[R], **key_types: str) -> None:
        """Name the key's columns with their SQL types, tenant first.

        Args:
            row_type: a dataclass; what its fields hold has JSON that PostgreSQL turns into the columns' types.
            key_types: such as ``tenant="text", entry_id="uuid"``.
        """
        self._row_type = row_type
        self._key_types = key_types
        self._columns = [field.name for field in fields(row_type)]  # type: ignore[arg-type]  # R is a dataclass

    def key(self, row: R) -> Key:
        return tuple([getattr(row, name) for name in self._key_types])

    async def folded(
        self,
        connection: Connection,
        table: str,
        events: Sequence[RecordedEvent],
        *,
        key: Callable[[RecordedEvent], Key],
        step: Step[R],
    ) -> Mapping[Key, R]:
        """Return the touched rows as `events` make them, in key order, without writing."""
        rows = await self.load(connection, table, {key(event) for event in events})
        fold_into(rows, events, key=key, step=step)
        return {each: rows[each] for each in in_order(rows)}

    async def load(self, connection: Connection, table: str, keys: Iterable[Key]) -> dict[Key, R]:
        """Return the rows that exist of `keys`."""
        columns = ", ".join(f"r.{name}" for name in self._columns)
        cursor = connection.cursor(row_factory=class_row(self._row_type))
        await cursor.execute(
            f"select {columns} from {self._keys()} join {table} r using ({', '.join(self._key_types)})",
            columns_of(keys, len(self._key_types)),
        )
        return {self.key(row): row for row in await cursor.fetchall()}

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
    """Return `keys` in the order of a primary key; a UUID compares itself in Python, and its integer does not."""
    return sorted(keys, key=lambda key: [part.int if isinstance(part, UUID) else part for part in key])


async def write_rows(
    connection: Connection, table: str, columns: Sequence[str], rows: Iterable[Any], on_conflict: str = ""
) -> None:
    """Insert rows, some thousand with each statement: dataclasses or mappings that have the columns by their names."""
    names = ", ".join(columns)
    statement = (
        f"insert into {table} ({names}) select {names} "
        f"from jsonb_populate_recordset(null::{table}, %s::jsonb) {on_conflict}"
    )
    waiting = list(rows)
    for start in range(0, len(waiting), _WRITTEN_AT_ONCE):
        document = orjson.dumps(waiting[start : start + _WRITTEN_AT_ONCE]).decode()
        await connection.execute(statement, (document,))


def arrays_of(sql_types: Iterable[str]) -> str:
    """Return the placeholders of arrays, one for each column."""
    return ", ".join(f"%s::{sql_type}[]" for sql_type in sql_types)


def columns_of(rows: Iterable[Sequence[Any]], width: int) -> list[list[Any]]:
    """Return rows of `width` values as arrays, one for each column, as `unnest` takes them."""
    table = list(rows)
    return [[row[column] for row in table] for column in range(width)]
