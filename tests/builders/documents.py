"""Document events and contents with a value for everything that a test does not care about."""

from typing import Any
from uuid import UUID

from domain.knowledge.document import ProcessedContent, UploadedFile
from domain.knowledge.events import (
    DocumentDeleted,
    DocumentProcessed,
    DocumentProcessingFailed,
    DocumentProcessingStarted,
    DocumentReprocessingRequested,
    DocumentUploaded,
)

DOCUMENT_ID = UUID("0190a000-0000-7000-8000-0000000000d1")
SHA256 = "ab" * 32

_FILE: dict[str, Any] = {
    "file_name": "layers.pdf",
    "media_type": "application/pdf",
    "size": 1234,
    "sha256": SHA256,
    "category": None,
    "tags": ("clay",),
    "visibility": "tenant",
}
_CONTENT: dict[str, Any] = {
    "title": "Layers",
    "language": "en",
    "media_type": "application/pdf",
    "characters": 4321,
    "pages": 3,
    "chunk_count": 7,
    "content_sha256": "cd" * 32,
}


def uploaded_file(**fields: Any) -> UploadedFile:
    return UploadedFile(**(_FILE | fields))


def processed_content(**fields: Any) -> ProcessedContent:
    return ProcessedContent(**(_CONTENT | fields))


def uploaded(owner: str = "ann", **fields: Any) -> DocumentUploaded:
    return DocumentUploaded(document_id=DOCUMENT_ID, owner=owner, **(_FILE | fields))


def started(attempt: int = 1) -> DocumentProcessingStarted:
    return DocumentProcessingStarted(document_id=DOCUMENT_ID, attempt=attempt)


def processed(attempt: int = 1, **fields: Any) -> DocumentProcessed:
    return DocumentProcessed(document_id=DOCUMENT_ID, attempt=attempt, **(_CONTENT | fields))


def failed(attempt: int = 1, reason: str = "corrupt") -> DocumentProcessingFailed:
    return DocumentProcessingFailed(
        document_id=DOCUMENT_ID, attempt=attempt, reason=reason, message="The file is damaged."
    )


def reprocessing_requested(attempt: int = 2) -> DocumentReprocessingRequested:
    return DocumentReprocessingRequested(document_id=DOCUMENT_ID, attempt=attempt)


def document_deleted() -> DocumentDeleted:
    return DocumentDeleted(document_id=DOCUMENT_ID)
