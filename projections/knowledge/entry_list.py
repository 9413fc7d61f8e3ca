"""KnowledgeEntryListView: one row for each entry, as lists, filters and look-ups need it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import ClassVar
from uuid import UUID

from domain.knowledge.events import (
    ENTRY_EVENTS,
    KnowledgeEntryCreated,
    KnowledgeEntryDeleted,
    KnowledgeEntryLinked,
    KnowledgeEntryRestored,
    KnowledgeEntryUnlinked,
    KnowledgeEntryUpdated,
)
from domain.shared.events import Event
from eventstore.records import JsonObject, RecordedEvent
from eventstore.voiding import EventVoided
from projections.definition import Connection, Generation, Projection
from projections.rows import JSON, Key, KeyedRows, columns_of

_STREAMS = "entry-"


@dataclass(frozen=True)
class EntryRow:
    """A row of the table `entries`; `version` and `position` are the last applied event's."""

    tenant: str
    entry_id: UUID
    owner: str
    visibility: str
    name: str
    description: str
    entity_type: str
    category: str | None
    tags: list[str]
    is_active: bool
    version: int
    position: int
    created_at: datetime
    updated_at: datetime
    attributes: JsonObject = field(metadata=JSON)
    links: list[JsonObject] = field(default_factory=list, metadata=JSON)


class KnowledgeEntryListView(Projection):
    NAME: ClassVar[str] = "knowledge_entry_list"
    EVENTS: ClassVar[frozenset[type[Event]]] = frozenset((*ENTRY_EVENTS, EventVoided))
    TABLES: ClassVar[tuple[str, ...]] = ("entries", "tags")
    DDL: ClassVar[str] = """
        create table {entries} (
            tenant      text        not null,
            entry_id    uuid        not null,
            owner       text        not null,
            visibility  text        not null,
            name        text        not null,
            description text        not null,
            entity_type text        not null,
            category    text,
            tags        text[]      not null,
            attributes  jsonb       not null,
            links       jsonb       not null,
            is_active   boolean     not null,
            version     integer     not null,
            position    bigint      not null,
            created_at  timestamptz not null,
            updated_at  timestamptz not null,
            primary key (tenant, entry_id)
        );
        create index on {entries} (tenant, created_at, entry_id);
        create index on {entries} (tenant, updated_at, entry_id);
        create index on {entries} (tenant, name, entry_id);
        create index on {entries} (tenant, category, created_at, entry_id);
        create index on {entries} (tenant, entity_type, created_at, entry_id);
        -- Tags lie in a table of their own: under row-level security no operator of an array index may be used.
        create table {tags} (
            tenant   text not null,
            tag      text not null,
            entry_id uuid not null,
            primary key (tenant, tag, entry_id)
        );
        create index on {tags} (tenant, entry_id);
    """

    def takes(self, recorded: RecordedEvent, lane: int, lanes: int) -> bool:
        """Take what voids an event of ours, but not what voids others'."""
        is_of_others = isinstance(recorded.event, EventVoided) and not (recorded.stream or "").startswith(_STREAMS)
        return not is_of_others and super().takes(recorded, lane, lanes)

    async def apply(
        self, connection: Connection, generation: Generation, events: Sequence[RecordedEvent], prepared: None
    ) -> None:
        before, after = await _ROWS.fold(connection, generation.table("entries"), events, key=_key, step=fold)
        retagged = [key for key in sorted(after) if key not in before or before[key].tags != after[key].tags]
        await _save_tags(connection, generation.table("tags"), retagged, after)


def fold(row: EntryRow | None, recorded: RecordedEvent) -> EntryRow | None:
    """Return the row of an entry after one of its events."""
    event = recorded.event
    if isinstance(event, KnowledgeEntryCreated):
        return EntryRow(
            tenant=recorded.tenant,
            **event.model_dump(exclude={"tags", "visibility"}),
            visibility=event.visibility.value,
            tags=list(event.tags),
            is_active=True,
            version=recorded.version,
            position=recorded.position,
            created_at=recorded.recorded_at,
            updated_at=recorded.recorded_at,
        )
    if row is None:
        return None
    row = replace(row, version=recorded.version, position=recorded.position, updated_at=recorded.recorded_at)
    match event:
        case KnowledgeEntryUpdated():
            described = event.model_dump(exclude={"entry_id", "changed", "tags", "visibility"})
            return replace(row, **described, visibility=event.visibility.value, tags=list(event.tags))
        case KnowledgeEntryDeleted():
            return replace(row, is_active=False)
        case KnowledgeEntryRestored():
            return replace(row, is_active=True)
        case KnowledgeEntryLinked():
            return replace(row, links=[*row.links, _link(event)])
        case KnowledgeEntryUnlinked():
            return replace(row, links=[link for link in row.links if link != _link(event)])
        case _:
            return row


def _link(event: KnowledgeEntryLinked | KnowledgeEntryUnlinked) -> JsonObject:
    return {"target_id": str(event.target_id), "relation": event.relation}


def _key(recorded: RecordedEvent) -> Key:
    if isinstance(recorded.event, EventVoided):
        return recorded.tenant, UUID(recorded.stream.removeprefix(_STREAMS))
    entry_id: UUID = getattr(recorded.event, "entry_id")  # noqa: B009 - every other event of `EVENTS` has it
    return recorded.tenant, entry_id


_ROWS = KeyedRows(EntryRow, tenant="text", entry_id="uuid")


async def _save_tags(connection: Connection, table: str, keys: Sequence[Key], rows: Mapping[Key, EntryRow]) -> None:
    if not keys:
        return
    await connection.execute(
        f"delete from {table} t using unnest(%s::text[], %s::uuid[]) as k (tenant, entry_id) "
        "where (t.tenant, t.entry_id) = (k.tenant, k.entry_id)",
        columns_of(keys, 2),
    )
    tagged = [(tenant, tag, entry_id) for tenant, entry_id in keys for tag in rows[tenant, entry_id].tags]
    await connection.cursor().executemany(f"insert into {table} (tenant, tag, entry_id) values (%s, %s, %s)", tagged)
