"""Ask for a document to be processed once more."""

from typing import ClassVar
from uuid import UUID

from commands.message import Command, Decision, Handling, change
from domain.knowledge.document import DOCUMENT, decide_reprocess
from domain.shared.access import Permission


class ReprocessDocument(Command):
    PERMISSION: ClassVar[Permission] = Permission.KNOWLEDGE_WRITE

    document_id: UUID

    def aggregate_id(self) -> str:
        return str(self.document_id)


async def reprocess_document(command: ReprocessDocument, handling: Handling) -> Decision:
    document = await handling.load(DOCUMENT, command.document_id)
    events = decide_reprocess(document.state, command.document_id, handling.actor)
    return Decision(command.document_id, [change(document, events)])
