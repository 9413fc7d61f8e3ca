"""Delete a knowledge entry; its history is kept."""

from typing import ClassVar
from uuid import UUID

from commands.message import Command, Decision, Handling, change
from domain.knowledge.entry import ENTRY, decide_delete
from domain.shared.access import Permission


class DeleteKnowledgeEntry(Command):
    PERMISSION: ClassVar[Permission] = Permission.KNOWLEDGE_WRITE

    entry_id: UUID

    def aggregate_id(self) -> str:
        return str(self.entry_id)


async def delete_entry(command: DeleteKnowledgeEntry, handling: Handling) -> Decision:
    entry = await handling.load(ENTRY, command.entry_id)
    return Decision(command.entry_id, [change(entry, decide_delete(entry.state, command.entry_id, handling.actor))])
