"""The facts of the knowledge context."""

from typing import ClassVar, get_args
from uuid import UUID

from domain.knowledge.values import Attributes, Description, FileName, Name, Relation, Sha256, Tags
from domain.shared.access import Visibility
from domain.shared.events import Event
from domain.shared.ids import UserId
from domain.shared.values import Label, Text


class KnowledgeEntryCreated(Event):
    TOPIC: ClassVar[str] = "knowledge.KnowledgeEntryCreated"

    entry_id: UUID
    owner: UserId
    visibility: Visibility
    name: Name
    description: Description
    entity_type: Label
    category: Label | None
    tags: Tags
    attributes: Attributes


class KnowledgeEntryUpdated(Event):
    """The entry's description as it is from now on: every field, so that a reader needs no earlier event."""

    TOPIC: ClassVar[str] = "knowledge.KnowledgeEntryUpdated"

    entry_id: UUID
    visibility: Visibility
    name: Name
    description: Description
    entity_type: Label
    category: Label | None
    tags: Tags
    attributes: Attributes
    changed: tuple[str, ...]


class KnowledgeEntryDeleted(Event):
    TOPIC: ClassVar[str] = "knowledge.KnowledgeEntryDeleted"

    entry_id: UUID


class KnowledgeEntryRestored(Event):
    TOPIC: ClassVar[str] = "knowledge.KnowledgeEntryRestored"

    entry_id: UUID


class KnowledgeEntryLinked(Event):
    TOPIC: ClassVar[str] = "knowledge.KnowledgeEntryLinked"

    entry_id: UUID
    target_id: UUID
    relation: Relation


class KnowledgeEntryUnlinked(Event):
    TOPIC: ClassVar[str] = "knowledge.KnowledgeEntryUnlinked"

    entry_id: UUID
    target_id: UUID
    relation: Relation


class DocumentUploaded(Event):
    TOPIC: ClassVar[str] = "knowledge.DocumentUploaded"

    document_id: UUID
    owner: UserId
    visibility: Visibility
    file_name: FileName
    media_type: Label
    size: int
    sha256: Sha256
    category: Label | None
    tags: Tags


class DocumentProcessingStarted(Event):
    TOPIC: ClassVar[str] = "knowledge.DocumentProcessingStarted"

    document_id: UUID
    attempt: int


class DocumentProcessed(Event):
    """The text was extracted and cut into chunks; both lie in the blob store under the hash of their bytes."""

    TOPIC: ClassVar[str] = "knowledge.DocumentProcessed"

    document_id: UUID
    attempt: int
    title: Text
    language: Label | None
    media_type: Label
    characters: int
    pages: int | None
    chunk_count: int
    content_sha256: Sha256


class DocumentProcessingFailed(Event):
    TOPIC: ClassVar[str] = "knowledge.DocumentProcessingFailed"

    document_id: UUID
    attempt: int
    reason: Label
    message: Text


class DocumentReprocessingRequested(Event):
    TOPIC: ClassVar[str] = "knowledge.DocumentReprocessingRequested"

    document_id: UUID
    attempt: int


class DocumentDeleted(Event):
    TOPIC: ClassVar[str] = "knowledge.DocumentDeleted"

    document_id: UUID


EntryEvent = (
    KnowledgeEntryCreated
    | KnowledgeEntryUpdated
    | KnowledgeEntryDeleted
    | KnowledgeEntryRestored
    | KnowledgeEntryLinked
    | KnowledgeEntryUnlinked
)

DocumentEvent = (
    DocumentUploaded
    | DocumentProcessingStarted
    | DocumentProcessed
    | DocumentProcessingFailed
    | DocumentReprocessingRequested
    | DocumentDeleted
)

ENTRY_EVENTS: tuple[type[Event], ...] = get_args(EntryEvent)

DOCUMENT_EVENTS: tuple[type[Event], ...] = get_args(DocumentEvent)
