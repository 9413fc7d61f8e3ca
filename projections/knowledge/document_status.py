"""DocumentStatusView: one row for each document, with how far its processing is and why it failed."""

from dataclasses import dataclass
from datetime import datetime
from typing import ClassVar
from uuid import UUID

from domain.knowledge.events import (
    DOCUMENT_EVENTS,
    DocumentDeleted,
    DocumentProcessed,
    DocumentProcessingFailed,
    DocumentProcessingStarted,
    DocumentReprocessingRequested,
    DocumentUploaded,
)
from domain.shared.events import Event
from eventstore.records import RecordedEvent
from eventstore.voiding import EventVoided
from projections.keyed import StreamProjection
from projections.rows import KeyedRows


@dataclass(slots=True)
class DocumentRow:
    """A row of the table `documents`; `version` and `position` are the last applied event's."""

    tenant: str
    document_id: UUID
    owner: str
    visibility: str
    file_name: str
    media_type: str
    size: int
    sha256: str
    category: str | None
    tags: list[str]
    status: str
    attempt: int
    version: int
    position: int
    created_at: datetime
    updated_at: datetime
    title: str | None = None
    language: str | None = None
    characters: int | None = None
    pages: int | None = None
    chunk_count: int | None = None
    reason: str | None = None
    message: str | None = None


class DocumentStatusView(StreamProjection[DocumentRow]):
    NAME: ClassVar[str] = "document_status"
    EVENTS: ClassVar[frozenset[type[Event]]] = frozenset((*DOCUMENT_EVENTS, EventVoided))
    TABLES: ClassVar[tuple[str, ...]] = ("documents",)
    DDL: ClassVar[str] = """
        create table {documents} (
            tenant      text        not null,
            document_id uuid        not null,
            owner       text        not null,
            visibility  text        not null,
            file_name   text        not null,
            media_type  text        not null,
            size        bigint      not null,
            sha256      text        not null,
            category    text,
            tags        text[]      not null,
            status      text        not null,
            attempt     integer     not null,
            version     integer     not null,
            position    bigint      not null,
            created_at  timestamptz not null,
            updated_at  timestamptz not null,
            title       text,
            language    text,
            characters  integer,
            pages       integer,
            chunk_count integer,
            reason      text,
            message     text,
            primary key (tenant, document_id)
        );
    """
    INDEXES: ClassVar[str] = """
        create index on {documents} (tenant, created_at, document_id);
        create index on {documents} (tenant, status, created_at, document_id);
        create index on {documents} (tenant, sha256);
    """
    MAIN: ClassVar[str] = "documents"
    ROWS: ClassVar[KeyedRows[DocumentRow]] = KeyedRows(DocumentRow, tenant="text", document_id="uuid")
    STREAM: ClassVar[str] = "document-"
    ID: ClassVar[str] = "document_id"

    def step(self, row: DocumentRow | None, recorded: RecordedEvent) -> DocumentRow | None:
        return fold(row, recorded)


def fold(row: DocumentRow | None, recorded: RecordedEvent) -> DocumentRow | None:
    """Return the row of a document after one of its events."""
    event = recorded.event
    if isinstance(event, DocumentUploaded):
        return DocumentRow(
            tenant=recorded.tenant,
            **event.model_dump(exclude={"tags", "visibility"}),
            visibility=event.visibility.value,
            tags=list(event.tags),
            status="uploaded",
            attempt=1,
            version=recorded.version,
            position=recorded.position,
            created_at=recorded.recorded_at,
            updated_at=recorded.recorded_at,
        )
    if row is None:
        return None
    row.version, row.position, row.updated_at = recorded.version, recorded.position, recorded.recorded_at
    match event:
        case DocumentProcessingStarted():
            row.status = "processing"
        case DocumentProcessed():
            row.status, row.reason, row.message = "processed", None, None
            row.title, row.language, row.media_type = event.title, event.language, event.media_type
            row.characters, row.pages, row.chunk_count = event.characters, event.pages, event.chunk_count
        case DocumentProcessingFailed():
            row.status, row.reason, row.message = "failed", event.reason, event.message
        case DocumentReprocessingRequested():
            row.status, row.attempt = "uploaded", event.attempt
        case DocumentDeleted():
            row.status = "deleted"
        case _:
            pass
    return row
