"""Delete a document; its history is kept, its content may be uploaded again."""

from typing import ClassVar
from uuid import UUID

from commands.message import Command, Decision, Handling, change
from domain.knowledge.document import DOCUMENT, content_claim, decide_delete, visible_document
from domain.shared.access import Permission
from eventstore.records import Claims


class DeleteDocument(Command):
    PERMISSION: ClassVar[Permission] = Permission.KNOWLEDGE_WRITE

    document_id: UUID

    def aggregate_id(self) -> str:
        return str(self.document_id)


async def delete_document(command: DeleteDocument, handling: Handling) -> Decision:
    loaded = await handling.load(DOCUMENT, command.document_id)
    document = visible_document(loaded.state, command.document_id, handling.actor)
    events = decide_delete(document, command.document_id, handling.actor)
    released = (content_claim(document.owner, document.sha256),) if events else ()
    return Decision(command.document_id, [change(loaded, events)], Claims(released=released))
