"""KnowledgeEntryListView: one row for each entry, as lists, filters and look-ups need it."""

from dataclasses import dataclass
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
from projections.keyed import Following, StreamProjection
from projections.rows import KeyedRows


@dataclass(slots=True)
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
    attributes: JsonObject
    links: list[JsonObject]


def _tags(row: EntryRow) -> list[JsonObject]:
    entry_id = str(row.entry_id)
    return [{"tenant": row.tenant, "tag": tag, "entry_id": entry_id} for tag in row.tags]


class KnowledgeEntryListView(StreamProjection[EntryRow]):
    NAME: ClassVar[str] = "knowledge_entry_list"
    EVENTS: ClassVar[frozenset[type[Event]]] = frozenset((*ENTRY_EVENTS, EventVoided))
    OVERWRITING: ClassVar[frozenset[type[Event]]] = frozenset({KnowledgeEntryUpdated})
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
        -- Tags lie in a table of their own: under row-level security no operator of an array index may be used.
        create table {tags} (
            tenant   text not null,
            tag      text not null,
            entry_id uuid not null,
            primary key (tenant, tag, entry_id)
        );
    """
    INDEXES: ClassVar[str] = """
        create index on {entries} (tenant, created_at, entry_id);
        create index on {entries} (tenant, updated_at, entry_id);
        create index on {entries} (tenant, name, entry_id);
        create index on {entries} (tenant, category, created_at, entry_id);
        create index on {entries} (tenant, entity_type, created_at, entry_id);
        create index on {tags} (tenant, entry_id);
    """
    LANES: ClassVar[int] = 2
    MAIN: ClassVar[str] = "entries"
    ROWS: ClassVar[KeyedRows[EntryRow]] = KeyedRows(
        EntryRow,
        "octet_length(r.description) + pg_column_size(r.attributes) + pg_column_size(r.links)",
        tenant="text",
        entry_id="uuid",
    )
    STREAM: ClassVar[str] = "entry-"
    ID: ClassVar[str] = "entry_id"
    FOLLOWING: ClassVar[tuple[Following[EntryRow], ...]] = (Following("tags", ("tenant", "tag", "entry_id"), _tags),)

    def step(self, row: EntryRow | None, recorded: RecordedEvent) -> EntryRow | None:
        return fold(row, recorded)


def fold(row: EntryRow | None, recorded: RecordedEvent) -> EntryRow | None:
    """Return the row of an entry after one of its events."""
    event = recorded.event
    if isinstance(event, KnowledgeEntryCreated):
        return EntryRow(
            tenant=recorded.tenant,
            entry_id=event.entry_id,
            owner=event.owner,
            visibility=event.visibility.value,
            name=event.name,
            description=event.description,
            entity_type=event.entity_type,
            category=event.category,
            tags=list(event.tags),
            is_active=True,
            version=recorded.version,
            position=recorded.position,
            created_at=recorded.recorded_at,
            updated_at=recorded.recorded_at,
            attributes=event.attributes,
            links=[],
        )
    if row is None:
        return None
    row.version, row.position, row.updated_at = recorded.version, recorded.position, recorded.recorded_at
    match event:
        case KnowledgeEntryUpdated():
            row.visibility = event.visibility.value
            row.name = event.name
            row.description = event.description
            row.entity_type = event.entity_type
            row.category = event.category
            row.tags = list(event.tags)
            row.attributes = event.attributes
        case KnowledgeEntryDeleted():
            row.is_active = False
        case KnowledgeEntryRestored():
            row.is_active = True
        case KnowledgeEntryLinked():
            row.links.append(_link(event))
        case KnowledgeEntryUnlinked():
            row.links = [link for link in row.links if link != _link(event)]
        case _:
            pass
    return row


def _link(event: KnowledgeEntryLinked | KnowledgeEntryUnlinked) -> JsonObject:
    return {"target_id": str(event.target_id), "relation": event.relation}
