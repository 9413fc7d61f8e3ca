"""Prepared appends, their rows and their commands, with a value for everything that a test does not care about."""

from collections.abc import Mapping
from typing import Any
from uuid import UUID, uuid4

from eventstore.prepare import PreparedAppend, prepare_rows
from eventstore.records import CommandRecord
from eventstore.rows import Conditions, EventRow


def prepared(*rows: EventRow, tenant: str = "acme", **given: Any) -> PreparedAppend:
    """An append of `rows`; what else is given goes to its conditions, the rest to `prepare_rows`."""
    conditions = Conditions(**{name: given.pop(name) for name in Conditions._fields if name in given})
    record: CommandRecord | None = given.get("command")
    append_id = given.pop("append_id", uuid4()) if record is None else record.command_id
    return prepare_rows(tenant, append_id, rows, given.pop("metadata", {}), conditions, **given)


def row(stream: str | None = "s", version: int | None = 1, **given: Any) -> EventRow:
    """An event; without a stream it has no version."""
    values: dict[str, Any] = {"topic": "t", "class_version": 1, "data": b"{}", "tags": ()}
    return EventRow(stream, None if stream is None else version, **(values | given))


def rows_of(stream: str, after: int, count: int = 1, **given: Any) -> list[EventRow]:
    """The `count` events of a stream that follow on version `after`."""
    return [row(stream, version, **given) for version in range(after + 1, after + 1 + count)]


def command(command_id: UUID | None = None, **given: Any) -> CommandRecord:
    """The audit row of an accepted command."""
    values: Mapping[str, Any] = {
        "command_type": "TestCommand",
        "aggregate_id": None,
        "data": {},
        "metadata": {},
        "user": "ann",
        "status": "accepted",
        "outcome": {},
    }
    return CommandRecord(command_id=command_id or uuid4(), **{**values, **given})
