"""Record an upload whose bytes are in the blob store."""

from typing import ClassVar

from commands.message import Command, Decision, Handling, StreamDecision
from domain.knowledge.document import DOCUMENT, UploadedFile, content_claim, decide_upload
from domain.knowledge.errors import DocumentAlreadyUploaded
from domain.shared.access import Permission
from eventstore.records import Claims


class UploadDocument(Command):
    """One document for each owner and content: the claim refuses a second one, racing uploads included."""

    PERMISSION: ClassVar[Permission] = Permission.KNOWLEDGE_WRITE

    file: UploadedFile


async def upload_document(command: UploadDocument, handling: Handling) -> Decision:
    document_id = handling.new_id()
    stream = DOCUMENT.stream(document_id)
    events = decide_upload(document_id, command.file, handling.actor)
    claim = content_claim(handling.actor.user, command.file.sha256)
    return Decision(
        document_id,
        [StreamDecision(stream, 0, events)],
        Claims(taken={claim: stream}),
        refuse_claim=lambda holder: DocumentAlreadyUploaded(DOCUMENT.id_of(holder)),
    )
