"""What the knowledge context refuses."""

from dataclasses import dataclass
from uuid import UUID

from domain.shared.errors import DomainError


@dataclass(eq=False)
class EntryNotFound(DomainError):
    """There is no entry with this id that you may see."""

    entry_id: UUID


@dataclass(eq=False)
class EntryIsDeleted(DomainError):
    """The entry is deleted; restore it first."""

    entry_id: UUID


@dataclass(eq=False)
class EntryIsNotDeleted(DomainError):
    """The entry is not deleted, so there is nothing to restore."""

    entry_id: UUID


@dataclass(eq=False)
class EntryCannotLinkToItself(DomainError):
    """An entry can't be linked to itself; name another entry as the target."""

    entry_id: UUID


@dataclass(eq=False)
class EntryHasTooManyLinks(DomainError):
    """The entry has as many links as an entry may have; take one away first."""

    entry_id: UUID
    maximum: int


@dataclass(eq=False)
class LinkNotFound(DomainError):
    """The entry has no such link."""

    entry_id: UUID
    target_id: UUID
    relation: str


@dataclass(eq=False)
class DocumentNotFound(DomainError):
    """There is no document with this id that you may see."""

    document_id: UUID


@dataclass(eq=False)
class DocumentIsEmpty(DomainError):
    """The file has no bytes; upload the file itself."""

    file_name: str


@dataclass(eq=False)
class DocumentTooLarge(DomainError):
    """The file is larger than this server takes; split it, or ask your operator."""

    max_bytes: int


@dataclass(eq=False)
class DocumentAlreadyUploaded(DomainError):
    """You uploaded this very file before; use that document, or delete it first."""

    document_id: UUID


@dataclass(eq=False)
class DocumentIsDeleted(DomainError):
    """The document is deleted; upload the file again."""

    document_id: UUID


@dataclass(eq=False)
class DocumentIsBeingProcessed(DomainError):
    """The document is waiting to be processed or being processed; wait for the outcome first."""

    document_id: UUID


@dataclass(eq=False)
class ProcessingAttemptIsOver(DomainError):
    """This processing attempt was ended by another outcome or a newer attempt."""

    document_id: UUID
    attempt: int
