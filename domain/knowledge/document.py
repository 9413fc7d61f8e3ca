"""A document: its state, how events change it, and what may be decided."""

from collections.abc import Sequence
from enum import StrEnum
from typing import assert_never
from uuid import UUID

from pydantic import BaseModel, ConfigDict

from domain.knowledge.errors import (
    DocumentIsBeingProcessed,
    DocumentIsDeleted,
    DocumentIsEmpty,
    DocumentNotFound,
    ProcessingAttemptIsOver,
)
from domain.knowledge.events import (
    DOCUMENT_EVENTS,
    DocumentDeleted,
    DocumentEvent,
    DocumentProcessed,
    DocumentProcessingFailed,
    DocumentProcessingStarted,
    DocumentReprocessingRequested,
    DocumentUploaded,
)
from domain.knowledge.values import FileName, NewTags, Sha256, Tags
from domain.shared.access import Actor, Visibility
from domain.shared.aggregates import AggregateType
from domain.shared.ids import UserId
from domain.shared.values import Label, Text


class DocumentStatus(StrEnum):
    UPLOADED = "uploaded"
    PROCESSING = "processing"
    PROCESSED = "processed"
    FAILED = "failed"
    DELETED = "deleted"


class Document(BaseModel):
    model_config = ConfigDict(frozen=True)

    document_id: UUID
    owner: UserId
    visibility: Visibility
    file_name: FileName
    media_type: Label
    size: int
    sha256: Sha256
    category: Label | None
    tags: Tags
    status: DocumentStatus
    attempt: int
    """Counts processing attempts that were asked for; an outcome of an older attempt is refused."""


class UploadedFile(BaseModel):
    """What is known of a file once its bytes are stored."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    file_name: FileName
    media_type: Label
    size: int
    sha256: Sha256
    category: Label | None = None
    tags: NewTags = ()
    visibility: Visibility = Visibility.TENANT


class ProcessedContent(BaseModel):
    """What a parser found; the text and its chunks lie in the blob store under `content_sha256`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    title: Text
    language: Label | None
    media_type: Label
    characters: int
    pages: int | None
    chunk_count: int
    content_sha256: Sha256


def evolve(state: Document | None, event: DocumentEvent) -> Document | None:
    """Return the document after `event`; total, so that an old history always loads."""
    match event:
        case DocumentUploaded():
            return Document.model_construct(**dict(event), status=DocumentStatus.UPLOADED, attempt=1)
        case _ if state is None:
            return None
        case DocumentProcessingStarted():
            return state.model_copy(update={"status": DocumentStatus.PROCESSING})
        case DocumentProcessed():
            return state.model_copy(update={"status": DocumentStatus.PROCESSED})
        case DocumentProcessingFailed():
            return state.model_copy(update={"status": DocumentStatus.FAILED})
        case DocumentReprocessingRequested(attempt=attempt):
            return state.model_copy(update={"status": DocumentStatus.UPLOADED, "attempt": attempt})
        case DocumentDeleted():
            return state.model_copy(update={"status": DocumentStatus.DELETED})
        case _:
            assert_never(event)


def content_claim(owner: str, sha256: str) -> str:
    """Return the unique claim that an upload takes: one document for each owner and content."""
    return f"document-content:{sha256}:{owner}"


def decide_upload(document_id: UUID, file: UploadedFile, actor: Actor) -> Sequence[DocumentEvent]:
    if file.size == 0:
        raise DocumentIsEmpty(file.file_name)
    return [DocumentUploaded(document_id=document_id, owner=actor.user, **dict(file))]


def decide_start(state: Document | None, document_id: UUID, attempt: int, actor: Actor) -> Sequence[DocumentEvent]:
    """Return the start of `attempt`, or nothing when a worker that died had started it."""
    document = _current_attempt(state, document_id, attempt, actor)
    if document.status is DocumentStatus.PROCESSING:
        return []
    return [DocumentProcessingStarted(document_id=document_id, attempt=attempt)]


def decide_complete(
    state: Document | None, document_id: UUID, attempt: int, content: ProcessedContent, actor: Actor
) -> Sequence[DocumentEvent]:
    _current_attempt(state, document_id, attempt, actor)
    return [DocumentProcessed(document_id=document_id, attempt=attempt, **dict(content))]


def decide_fail(
    state: Document | None, document_id: UUID, attempt: int, reason: str, message: str, actor: Actor
) -> Sequence[DocumentEvent]:
    _current_attempt(state, document_id, attempt, actor)
    return [DocumentProcessingFailed(document_id=document_id, attempt=attempt, reason=reason, message=message)]


def decide_reprocess(state: Document | None, document_id: UUID, actor: Actor) -> Sequence[DocumentEvent]:
    document = _live(state, document_id, actor)
    if document.status in {DocumentStatus.UPLOADED, DocumentStatus.PROCESSING}:
        raise DocumentIsBeingProcessed(document_id)
    return [DocumentReprocessingRequested(document_id=document_id, attempt=document.attempt + 1)]


def decide_delete(state: Document | None, document_id: UUID, actor: Actor) -> Sequence[DocumentEvent]:
    """Return the deletion, or nothing when the document is deleted already."""
    document = visible_document(state, document_id, actor)
    return [] if document.status is DocumentStatus.DELETED else [DocumentDeleted(document_id=document_id)]


def visible_document(state: Document | None, document_id: UUID, actor: Actor) -> Document:
    """Return the document, or refuse with the same error whether it does not exist or is another's private one."""
    if state is None or not actor.sees(state.owner, state.visibility):
        raise DocumentNotFound(document_id)
    return state


def _live(state: Document | None, document_id: UUID, actor: Actor) -> Document:
    document = visible_document(state, document_id, actor)
    if document.status is DocumentStatus.DELETED:
        raise DocumentIsDeleted(document_id)
    return document


def _current_attempt(state: Document | None, document_id: UUID, attempt: int, actor: Actor) -> Document:
    document = _live(state, document_id, actor)
    if document.attempt != attempt or document.status in {DocumentStatus.PROCESSED, DocumentStatus.FAILED}:
        raise ProcessingAttemptIsOver(document_id, attempt)
    return document


DOCUMENT = AggregateType(category="document", state=Document, evolve=evolve, events=DOCUMENT_EVENTS)
