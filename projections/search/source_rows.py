"""What is searched, as it is now: the table `sources` of both legs, with a row for each entry and document."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from domain.knowledge.events import (
    DocumentDeleted,
    DocumentProcessed,
    DocumentUploaded,
    KnowledgeEntryCreated,
    KnowledgeEntryDeleted,
    KnowledgeEntryRestored,
    KnowledgeEntryUpdated,
)
from domain.shared.events import Event
from eventstore.records import RecordedEvent
from projections.rows import Key, KeyedRows

SEARCHED_EVENTS: frozenset[type[Event]] = frozenset(
    {
        KnowledgeEntryCreated,
        KnowledgeEntryUpdated,
        KnowledgeEntryDeleted,
        KnowledgeEntryRestored,
        DocumentUploaded,
        DocumentProcessed,
        DocumentDeleted,
    }
)

SOURCES_DDL = """
    -- What each source is now: a restored entry is indexed again from here.
    create table {sources} (
        tenant         text        not null,
        source_id      uuid        not null,
        source_kind    text        not null,
        is_active      boolean     not null,
        title          text        not null,
        body           text,
        content_sha256 text,
        language       text,
        entity_type    text,
        category       text,
        tags           text[]      not null,
        owner          text        not null,
        visibility     text        not null,
        created_at     timestamptz not null,
        event_position bigint      not null,
        primary key (tenant, source_id)
    );
"""


@dataclass(slots=True)
class Source:
    """A row of the table `sources`: an entry has a `body`, a processed document the hash of its content."""

    tenant: str
    source_id: UUID
    source_kind: str
    is_active: bool
    title: str
    category: str | None
    tags: list[str]
    owner: str
    visibility: str
    created_at: datetime
    event_position: int
    body: str | None = None
    content_sha256: str | None = None
    language: str | None = None
    entity_type: str | None = None


SOURCES = KeyedRows(Source, "coalesce(octet_length(r.body), 0)", tenant="text", source_id="uuid")


def fold(source: Source | None, recorded: RecordedEvent) -> Source | None:
    """Return the source after one of its events."""
    match recorded.event:
        case KnowledgeEntryCreated() as created:
            return _entry(created, recorded)
        case DocumentUploaded() as uploaded:
            return _document(uploaded, recorded)
        case _ if source is None:
            return None
        case event:
            source.event_position = recorded.position
            _change(source, event)
            return source


def source_key(recorded: RecordedEvent) -> Key:
    """Return the key of the source that an event is of."""
    event = recorded.event
    source_id: UUID = getattr(event, "entry_id", None) or getattr(event, "document_id")  # noqa: B009 - it has either
    return recorded.tenant, source_id


def _entry(event: KnowledgeEntryCreated, recorded: RecordedEvent) -> Source:
    return Source(
        tenant=recorded.tenant,
        source_id=event.entry_id,
        source_kind="entry",
        is_active=True,
        title=event.name,
        body=event.description,
        entity_type=event.entity_type,
        category=event.category,
        tags=list(event.tags),
        owner=event.owner,
        visibility=event.visibility.value,
        created_at=recorded.recorded_at,
        event_position=recorded.position,
    )


def _document(event: DocumentUploaded, recorded: RecordedEvent) -> Source:
    """A document that is not processed yet: there is nothing to find in it."""
    return Source(
        tenant=recorded.tenant,
        source_id=event.document_id,
        source_kind="document",
        is_active=False,
        title=event.file_name,
        category=event.category,
        tags=list(event.tags),
        owner=event.owner,
        visibility=event.visibility.value,
        created_at=recorded.recorded_at,
        event_position=recorded.position,
    )


def _change(source: Source, event: Event) -> None:
    match event:
        case KnowledgeEntryUpdated():
            source.title = event.name
            source.body = event.description
            source.entity_type = event.entity_type
            source.category = event.category
            source.tags = list(event.tags)
            source.visibility = event.visibility.value
        case DocumentProcessed():
            source.is_active = True
            source.title = event.title
            source.language = event.language
            source.content_sha256 = event.content_sha256
        case KnowledgeEntryDeleted() | DocumentDeleted():
            source.is_active = False
        case KnowledgeEntryRestored():
            source.is_active = True
        case _:
            pass
