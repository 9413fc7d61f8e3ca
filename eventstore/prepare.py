"""Makes appends ready to travel: encoded once, and checked for all that the database would refuse.

A batch carries many callers' appends in one transaction, so what PostgreSQL can't store must be found before: one
caller's NUL character would otherwise fail them all.
"""

import struct
from collections.abc import Iterable, Sequence
from typing import NamedTuple
from uuid import UUID, uuid5

import orjson
from eventsourcing.persistence import StoredEvent

from eventstore import wire
from eventstore.applications import TAG_PREFIX, names_an_application
from eventstore.encode import (
    Checked,
    Rows,
    append_elements,
    boundary_rows,
    checked_rows,
    condition_rows,
    event_rows,
)
from eventstore.errors import InvalidAppend
from eventstore.mapper import VersionedStoredEvent
from eventstore.records import NO_CLAIMS, Append, Boundary, CommandRecord, JsonObject
from eventstore.rows import NO_CONDITIONS, Conditions, EventRow
from eventstore.storable import require_storable

MOST_BYTES = 16_000_000

Touched = tuple[str | int, ...]
"""Something that only one append of a round may touch: a stream, a claim, a key, …"""


class PreparedAppend(NamedTuple):
    """An append in the elements of the arrays that it will be part of."""

    tenant: str
    append_id: UUID
    command: CommandRecord | None
    event_count: int
    elements: tuple[bytes, ...]
    """One for each of `APPEND_COLUMNS`."""
    parts: tuple[Rows, ...]
    """One for each of `PART_COLUMNS`."""
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

    def after_abandoned(self) -> "PreparedAppend":
        """Return the append under the id that follows from its own, which was abandoned and is refused for ever.

        It is the same whoever asks, so that what is sent twice is still stored once.
        """
        append_id = uuid5(self.append_id, "abandoned")
        elements = (self.elements[0], wire.uuid(append_id), *self.elements[2:])
        touched = (_touched_by_id(self.tenant, append_id), *self.touched[1:])
        return self._replace(append_id=append_id, elements=elements, touched=touched)

    def with_boundary(self, boundary: Boundary) -> "PreparedAppend":
        """Return the append with another boundary, when what its own asks was looked at before."""
        conditions = self.conditions._replace(boundary=boundary)
        return self._replace(conditions=conditions, parts=(*self.parts[:-1], boundary_rows(boundary)))


def prepare(append: Append, stored: Sequence[StoredEvent]) -> PreparedAppend:
    """Encode a command's append, whose events are `stored` as bytes.

    Raises:
        InvalidAppend: the database could not store it, or a tag says that another application writes it.
    """
    if any(event.tags and names_an_application(event.tags) for event in append.events):
        raise InvalidAppend(f"a tag that begins with {TAG_PREFIX} names another application, and this is Varve's own")
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
        elements = append_elements(tenant, append_id, len(rows), command)
        events = event_rows(rows, metadata, conditions)
        checked = _checked(rows, conditions)
        parts = (events, checked_rows(checked), *condition_rows(conditions))
    except UnicodeEncodeError as error:
        raise InvalidAppend("a text holds half of a surrogate pair, which has no UTF-8") from error
    except orjson.JSONEncodeError as error:
        raise InvalidAppend(f"a value has no JSON: {error}") from error
    except struct.error as error:
        raise InvalidAppend(f"a number is of another kind: {error}") from error
    size = sum(map(len, elements)) + sum(map(len, events.columns))
    if size > MOST_BYTES:
        raise InvalidAppend(f"an append may have {MOST_BYTES} bytes at the most, and this one has {size}")
    return PreparedAppend(
        tenant=tenant,
        append_id=append_id,
        command=command,
        event_count=len(rows),
        elements=elements,
        parts=parts,
        marks=tuple([(row.topic, row.tags) for row in rows]),
        touched=_touched(tenant, append_id, [stream for stream, _, _ in checked], conditions, command),
        conditions=conditions,
        size=size,
        is_bulk=is_bulk,
    )


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


def _touched(
    tenant: str, append_id: UUID, streams: Iterable[str], conditions: Conditions, command: CommandRecord | None
) -> tuple[Touched, ...]:
    touched: list[Touched] = [_touched_by_id(tenant, append_id)]
    touched += [("stream", tenant, stream) for stream in streams]
    if conditions is not NO_CONDITIONS:
        touched += [("claim", tenant, claim) for claim in {*conditions.claims.taken, *conditions.claims.released}]
        if conditions.tracked is not None:
            touched.append(("tracked", tenant, conditions.tracked.application_name))
    if command is not None and command.key is not None:
        touched.append(("key", tenant, command.key.actor, command.key.key))
    return tuple(dict.fromkeys(touched))


def _touched_by_id(tenant: str, append_id: UUID) -> Touched:
    return "append", tenant, append_id.int
