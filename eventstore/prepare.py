"""Makes appends ready to travel: encoded once, and checked for all that the database would refuse.

A batch carries many callers' appends in one transaction, so what PostgreSQL can't store must be found before: one
caller's NUL character would otherwise fail them all.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple
from uuid import UUID

import orjson
from eventsourcing.persistence import Mapper, StoredEvent

from eventstore import wire
from eventstore.errors import InvalidAppend
from eventstore.mapper import VersionedStoredEvent
from eventstore.records import NO_CLAIMS, Append, CommandRecord, JsonObject
from eventstore.rows import NO_CONDITIONS, Conditions, EventRow
from eventstore.storable import require_storable, storable_json

MOST_BYTES = 16_000_000

Touched = tuple[str | int, ...]
"""Something that only one append of a round may touch: a stream, a claim, a key, …"""

Checked = tuple[str, int, bool | None]
"""A stream, the version that it must have, and whether it is written; None where that leaves a gap."""


class PreparedAppend(NamedTuple):
    """An append in the elements of the arrays that it will be part of."""

    tenant: str
    append_id: UUID
    command: CommandRecord | None
    event_count: int
    elements: tuple[bytes, ...]
    """One for each of `APPEND_COLUMNS`."""
    event_elements: tuple[bytes, ...]
    """For each of `EVENT_COLUMNS` those of all events, one after another."""
    checked_count: int
    checked_elements: tuple[bytes, ...]
    """For each of `CHECKED_COLUMNS` those of all streams whose version is checked."""
    marks: tuple[tuple[str, tuple[str, ...]], ...]
    """Topic and tags of each event, for the boundaries of later appends in the same batch."""
    touched: tuple[Touched, ...]
    conditions: Conditions
    size: int
    """Bytes, about."""
    is_bulk: bool = False
    is_resent_alone: bool = False
    """Whether its counters must be looked at after every earlier append is decided."""

    def alone(self) -> "PreparedAppend":
        """Return the append for a batch in which nothing shares a round with its counters."""
        return self._replace(is_resent_alone=True)

    def with_new_id(self, append_id: UUID) -> "PreparedAppend":
        """Return the append under another id, when its first one was abandoned."""
        elements = (self.elements[0], wire.uuid(append_id), *self.elements[2:])
        return self._replace(append_id=append_id, elements=elements)


APPEND_COLUMNS = (
    *(wire.TEXT, wire.UUIDS, wire.INT4),  # tenant, id, number of events
    *(wire.TEXT, wire.TEXT, wire.JSONB, wire.JSONB, wire.TEXT, wire.TEXT, wire.JSONB, wire.JSONB),  # command
    *(wire.TEXT, wire.TEXT, wire.BYTEA, wire.INT4),  # idempotency key
)
COMMAND_COLUMNS = range(3, 11)
KEY_COLUMNS = range(11, 15)
EVENT_COLUMNS = (wire.TEXT, wire.INT4, wire.TEXT, wire.INT2, wire.TEXT, wire.BYTEA, wire.BYTEA)
TAGS_COLUMN = 4
CHECKED_COLUMNS = (wire.TEXT, wire.INT4, wire.BOOL)

_NO_COMMAND = (wire.NULL,) * len(COMMAND_COLUMNS)
_NO_KEY = (wire.NULL,) * len(KEY_COLUMNS)


def prepare(append: Append, mapper: Mapper[str]) -> PreparedAppend:
    """Encode a command's append.

    Raises:
        InvalidAppend: the database could not store it.
    """
    stored = [mapper.to_stored_event(event) for event in append.events]
    rows = [event_row(each, event.tags) for each, event in zip(stored, append.events, strict=True)]
    conditions = NO_CONDITIONS
    if append.expected or append.claims != NO_CLAIMS or append.counters or append.boundary is not None:
        conditions = Conditions(
            expected=tuple(append.expected.items()),
            claims=append.claims,
            counters=append.counters,
            boundary=append.boundary,
        )
    return prepare_rows(
        append.tenant,
        append.command.command_id,
        rows,
        append.event_metadata.model_dump(mode="json"),
        conditions,
        command=append.command,
        is_bulk=append.is_bulk,
    )


def event_row(stored: StoredEvent, tags: tuple[str, ...] = ()) -> EventRow:
    class_version = stored.class_version if isinstance(stored, VersionedStoredEvent) else 1
    return EventRow(
        str(stored.originator_id),
        stored.originator_version,
        stored.topic,
        class_version,
        stored.state,
        tuple(dict.fromkeys(tags)),
    )


def prepare_rows(
    tenant: str,
    append_id: UUID,
    rows: Sequence[EventRow],
    metadata: JsonObject,
    conditions: Conditions = NO_CONDITIONS,
    *,
    command: CommandRecord | None = None,
    is_bulk: bool = False,
) -> PreparedAppend:
    """Encode rows that are to be appended together; without a `command` only the events are stored.

    Raises:
        InvalidAppend: the database could not store them.
    """
    try:
        require_storable(tenant, rows, conditions, command)
        elements = (wire.text(tenant), wire.uuid(append_id), wire.int4(len(rows)), *_command_elements(command))
        event_elements = _event_elements(rows, metadata, conditions)
        checked = _checked(rows, conditions)
    except UnicodeEncodeError as error:
        raise InvalidAppend("a text holds half of a surrogate pair, which has no UTF-8") from error
    except orjson.JSONEncodeError as error:
        raise InvalidAppend(f"a value has no JSON: {error}") from error
    size = sum(map(len, elements)) + sum(map(len, event_elements))
    if size > MOST_BYTES:
        raise InvalidAppend(f"an append may have {MOST_BYTES} bytes at the most, and this one has {size}")
    return PreparedAppend(
        tenant=tenant,
        append_id=append_id,
        command=command,
        event_count=len(rows),
        elements=elements,
        event_elements=event_elements,
        checked_count=len(checked),
        checked_elements=_columns([_checked_elements(*each) for each in checked], len(CHECKED_COLUMNS)),
        marks=tuple([(row.topic, row.tags) for row in rows]),
        touched=_touched(tenant, append_id, [stream for stream, _, _ in checked], conditions, command),
        conditions=conditions,
        size=size,
        is_bulk=is_bulk,
    )


def _event_elements(rows: Sequence[EventRow], metadata: JsonObject, conditions: Conditions) -> tuple[bytes, ...]:
    if not rows:
        return (b"",) * len(EVENT_COLUMNS)
    changes = None if conditions is NO_CONDITIONS else _changes(conditions)
    # Claims and counters can be derived from the log: the first event of an append says what it changed.
    first = wire.blob(storable_json(metadata | {"changes": changes} if changes else metadata))
    others = (wire.blob(storable_json(metadata)) if changes else first) * (len(rows) - 1) if len(rows) > 1 else b""
    return (*_columns([_row_elements(row) for row in rows], len(EVENT_COLUMNS) - 1), first + others)


def _row_elements(row: EventRow) -> tuple[bytes, ...]:
    return (
        wire.text(row.stream),
        wire.int4(row.version),
        wire.text(row.topic),
        wire.int2(row.class_version),
        wire.text(_array_literal(row.tags)) if row.tags else wire.NULL,
        wire.blob(row.data),
    )


def _columns(rows: Sequence[tuple[bytes, ...]], count: int) -> tuple[bytes, ...]:
    """Return the elements of each of `count` columns, joined; most appends have one row."""
    if len(rows) == 1:
        return rows[0]
    return tuple(map(b"".join, zip(*rows, strict=True))) if rows else (b"",) * count


def _checked(rows: Sequence[EventRow], conditions: Conditions) -> Sequence[Checked]:
    """Return each stream with the version that it must have, and whether it is written; None: with a gap."""
    if len(rows) == 1 and rows[0].version is not None and not conditions.expected:
        return [(str(rows[0].stream), rows[0].version - 1, True)]
    versions: dict[str, list[int]] = {}
    for row in rows:
        if row.stream is not None and row.version is not None:
            versions.setdefault(row.stream, []).append(row.version)
    written: list[Checked] = []
    for stream, found in versions.items():
        first = min(found)
        written.append((stream, first - 1, True if found == list(range(first, first + len(found))) else None))
    return [*written, *((stream, version, False) for stream, version in conditions.expected)]


def _checked_elements(stream: str, version: int, is_written: bool | None) -> tuple[bytes, ...]:  # noqa: FBT001
    return wire.text(stream), wire.int4(version), wire.NULL if is_written is None else wire.boolean(is_written)


def _changes(conditions: Conditions) -> JsonObject:
    changes: JsonObject = {}
    if conditions.claims.released:
        changes["released"] = list(conditions.claims.released)
    if conditions.claims.taken:
        changes["taken"] = dict(conditions.claims.taken)
    if conditions.counters:
        changes["counters"] = {counter.name: counter.add for counter in conditions.counters}
    return changes


def _command_elements(command: CommandRecord | None) -> tuple[bytes, ...]:
    if command is None:
        return (*_NO_COMMAND, *_NO_KEY)
    record = (
        wire.text(command.command_type),
        wire.text(command.aggregate_id),
        wire.jsonb(storable_json(command.data)),
        wire.jsonb(storable_json(command.metadata)),
        wire.text(command.user),
        wire.text(command.status),
        wire.jsonb(storable_json(command.outcome)),
        wire.jsonb(None if command.error is None else storable_json(command.error)),
    )
    key = command.key
    if key is None:
        return (*record, *_NO_KEY)
    remembered = wire.int4(key.seconds if command.is_remembered else None)
    return (*record, wire.text(key.actor), wire.text(key.key), wire.blob(key.fingerprint), remembered)


def _array_literal(tags: Iterable[str]) -> str:
    quoted = (tag.replace("\\", "\\\\").replace('"', '\\"') for tag in tags)
    return "{" + ",".join(f'"{tag}"' for tag in quoted) + "}"


def _touched(
    tenant: str, append_id: UUID, streams: Iterable[str], conditions: Conditions, command: CommandRecord | None
) -> tuple[Touched, ...]:
    touched: list[Touched] = [("append", tenant, append_id.int)]
    touched += [("stream", tenant, stream) for stream in streams]
    if conditions is not NO_CONDITIONS:
        touched += [("claim", tenant, claim) for claim in {*conditions.claims.taken, *conditions.claims.released}]
        if conditions.tracked is not None:
            touched.append(("tracked", tenant, conditions.tracked.application_name))
    if command is not None and command.key is not None:
        touched.append(("key", tenant, command.key.actor, command.key.key))
    return tuple(dict.fromkeys(touched))
