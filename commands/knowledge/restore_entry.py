"""Restore a knowledge entry."""

from typing import ClassVar
from uuid import UUID

from commands.message import Command, Decision, Handling, change
from domain.knowledge.entry import ENTRY, decide_restore
from domain.shared.access import Permission


class RestoreKnowledgeEntry(Command):
    PERMISSION: ClassVar[Permission] = Permission.KNOWLEDGE_WRITE

    entry_id: UUID

    def aggregate_id(self) -> str:
        return str(self.entry_id)


async def restore_entry(command: RestoreKnowledgeEntry, handling: Handling) -> Decision:
    entry = await handling.load(ENTRY, command.entry_id)
    return Decision(command.entry_id, [change(entry, decide_restore(entry.state, command.entry_id, handling.actor))])
