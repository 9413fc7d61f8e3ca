"""What the document worker reports: an attempt has begun, and how it ended."""

from typing import ClassVar
from uuid import UUID

from commands.message import Command, Decision, Handling, change
from domain.knowledge.document import (
    DOCUMENT,
    ProcessedContent,
    decide_complete,
    decide_fail,
    decide_start,
)
from domain.shared.access import Permission
from domain.shared.values import Label, Text


class ProcessDocument(Command):
    """Begin the attempt."""

    PERMISSION: ClassVar[Permission] = Permission.DOCUMENT_PROCESS

    document_id: UUID
    attempt: int

    def aggregate_id(self) -> str:
        return str(self.document_id)


class CompleteDocumentProcessing(Command):
    PERMISSION: ClassVar[Permission] = Permission.DOCUMENT_PROCESS

    document_id: UUID
    attempt: int
    content: ProcessedContent

    def aggregate_id(self) -> str:
        return str(self.document_id)


class FailDocumentProcessing(Command):
    PERMISSION: ClassVar[Permission] = Permission.DOCUMENT_PROCESS

    document_id: UUID
    attempt: int
    reason: Label
    message: Text

    def aggregate_id(self) -> str:
        return str(self.document_id)


async def process_document(command: ProcessDocument, handling: Handling) -> Decision:
    document = await handling.load(DOCUMENT, command.document_id)
    events = decide_start(document.state, command.document_id, command.attempt, handling.actor)
    return Decision(command.document_id, [change(document, events)])


async def complete_processing(command: CompleteDocumentProcessing, handling: Handling) -> Decision:
    document = await handling.load(DOCUMENT, command.document_id)
    events = decide_complete(document.state, command.document_id, command.attempt, command.content, handling.actor)
    return Decision(command.document_id, [change(document, events)])


async def fail_processing(command: FailDocumentProcessing, handling: Handling) -> Decision:
    document = await handling.load(DOCUMENT, command.document_id)
    events = decide_fail(
        document.state, command.document_id, command.attempt, command.reason, command.message, handling.actor
    )
    return Decision(command.document_id, [change(document, events)])
