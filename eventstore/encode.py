"""Encodes appends as the elements of the arrays that `varve.append` takes: once, when an append is prepared."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple
from uuid import UUID

from eventstore import wire
from eventstore.records import Boundary, CommandRecord, Counter, JsonObject, Tracked
from eventstore.rows import NO_CONDITIONS, Conditions, EventRow
from eventstore.storable import storable_json

APPEND_COLUMNS = (
    *(wire.TEXT, wire.UUIDS, wire.INT4),  # tenant, id, number of events
    *(wire.TEXT, wire.TEXT, wire.JSONB, wire.JSONB, wire.TEXT, wire.TEXT, wire.JSONB, wire.JSONB),  # command
    *(wire.TEXT, wire.TEXT, wire.BYTEA, wire.INT4),  # idempotency key
)
COMMAND_COLUMNS = range(3, 11)
KEY_COLUMNS = range(11, 15)
PART_COLUMNS = (
    (wire.TEXT, wire.INT4, wire.TEXT, wire.INT2, wire.TEXT, wire.BYTEA, wire.BYTEA),  # events
    (wire.TEXT, wire.INT4, wire.BOOL),  # streams whose version is checked
    (wire.TEXT, wire.TEXT),  # claims
    (wire.TEXT, wire.INT8, wire.INT8),  # counters
    (wire.TEXT, wire.INT8),  # positions of upstream applications
    (wire.INT8, wire.TEXT, wire.TEXT, wire.TEXT),  # items of boundaries
)
"""The kinds of rows that an append may have any number of. In the call the number of the append stands before each."""
TAGS_COLUMN = 4
"""Of the events."""

Checked = tuple[str, int, bool | None]
"""A stream, the version that it must have, and whether it is written; None where that leaves a gap."""


class Rows(NamedTuple):
    """Rows of one kind: for each column the elements of all of them, one after another."""

    number: int
    columns: tuple[bytes, ...]


NO_ROWS = Rows(0, ())
_NO_CONDITION_ROWS = (NO_ROWS,) * 4
_NO_COMMAND = (wire.NULL,) * len(COMMAND_COLUMNS)
_NO_KEY = (wire.NULL,) * len(KEY_COLUMNS)


def append_elements(tenant: str, append_id: UUID, event_count: int, command: CommandRecord | None) -> tuple[bytes, ...]:
    """Return an element for each of `APPEND_COLUMNS`."""
    elements = (wire.text(tenant), wire.uuid(append_id), wire.int4(event_count))
    if command is None:
        return (*elements, *_NO_COMMAND, *_NO_KEY)
    return (*elements, *_command_elements(command), *_key_elements(command))


def event_rows(rows: Sequence[EventRow], metadata: JsonObject, conditions: Conditions) -> Rows:
    """Encode events, the first of which says what `conditions` change."""
    # Claims and counters can be derived from the log: the first event of an append says what it changed.
    changes = None if conditions is NO_CONDITIONS else _changes(conditions)
    first = wire.blob(storable_json({**metadata, "changes": changes} if changes else metadata))
    others = first if len(rows) == 1 or not changes else wire.blob(storable_json(metadata))
    return _rows([(*_event_elements(row), others if number else first) for number, row in enumerate(rows)])


def checked_rows(checked: Sequence[Checked]) -> Rows:
    return _rows(
        [(wire.text(stream), wire.int4(version), wire.boolean(written)) for stream, version, written in checked]
    )


def condition_rows(conditions: Conditions) -> tuple[Rows, ...]:
    """Encode claims, counters, positions of upstream applications and boundaries."""
    if conditions is NO_CONDITIONS:
        return _NO_CONDITION_ROWS
    return (
        _rows(
            [(wire.text(claim), wire.NULL) for claim in conditions.claims.released]
            + [(wire.text(claim), wire.text(stream)) for claim, stream in conditions.claims.taken.items()]
        ),
        _rows([_counter_elements(counter) for counter in conditions.counters]),
        NO_ROWS if conditions.tracked is None else _rows([_tracked_elements(conditions.tracked)]),
        NO_ROWS if conditions.boundary is None else boundary_rows(conditions.boundary),
    )


def boundary_rows(boundary: Boundary) -> Rows:
    """Encode a row for each item: where it begins, its topics, its first tag and its other tags."""
    after = wire.int8(boundary.after)
    return _rows(
        [
            (after, _texts(item.topics), wire.text(item.tags[0] if item.tags else None), _texts(item.tags[1:]))
            for item in boundary.items
        ]
    )


def _rows(rows: Sequence[tuple[bytes, ...]]) -> Rows:
    if len(rows) == 1:  # as most are
        return Rows(1, rows[0])
    return Rows(len(rows), tuple(map(b"".join, zip(*rows, strict=True)))) if rows else NO_ROWS


def _event_elements(row: EventRow) -> tuple[bytes, ...]:
    return (
        wire.text(row.stream),
        wire.int4(row.version),
        wire.text(row.topic),
        wire.int2(row.class_version),
        _texts(row.tags),
        wire.blob(row.data),
    )


def _counter_elements(counter: Counter) -> tuple[bytes, ...]:
    return wire.text(counter.name), wire.int8(counter.add), wire.int8(counter.limit)


def _tracked_elements(tracked: Tracked) -> tuple[bytes, ...]:
    return wire.text(tracked.application_name), wire.int8(tracked.position)


def _command_elements(command: CommandRecord) -> tuple[bytes, ...]:
    return (
        wire.text(command.command_type),
        wire.text(command.aggregate_id),
        wire.jsonb(storable_json(command.data)),
        wire.jsonb(storable_json(command.metadata)),
        wire.text(command.user),
        wire.text(command.status),
        wire.jsonb(storable_json(command.outcome)),
        wire.jsonb(None if command.error is None else storable_json(command.error)),
    )


def _key_elements(command: CommandRecord) -> tuple[bytes, ...]:
    key = command.key
    if key is None:
        return _NO_KEY
    remembered = wire.int4(key.seconds if command.is_remembered else None)
    return wire.text(key.actor), wire.text(key.key), wire.blob(key.fingerprint), remembered


def _changes(conditions: Conditions) -> Mapping[str, object]:
    changes: dict[str, object] = {}
    if conditions.claims.released:
        changes["released"] = list(conditions.claims.released)
    if conditions.claims.taken:
        changes["taken"] = dict(conditions.claims.taken)
    if conditions.counters:
        changes["counters"] = {counter.name: counter.add for counter in conditions.counters}
    return changes


def _texts(values: Sequence[str]) -> bytes:
    """Encode texts as the literal of their array, since arrays don't nest; null when there are none."""
    return wire.text("{" + ",".join(map(_quoted, values)) + "}") if values else wire.NULL


def _quoted(value: str) -> str:
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
