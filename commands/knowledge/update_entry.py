"""Change fields of a knowledge entry."""

from typing import ClassVar
from uuid import UUID

from commands.message import Command, Decision, Handling, change
from domain.knowledge.entry import ENTRY, EntryChanges, decide_update
from domain.shared.access import Permission


class UpdateKnowledgeEntry(Command):
    PERMISSION: ClassVar[Permission] = Permission.KNOWLEDGE_WRITE

    entry_id: UUID
    changes: EntryChanges

    def aggregate_id(self) -> str:
        return str(self.entry_id)


async def update_entry(command: UpdateKnowledgeEntry, handling: Handling) -> Decision:
    entry = await handling.load(ENTRY, command.entry_id)
    events = decide_update(entry.state, command.entry_id, command.changes, handling.actor)
    return Decision(command.entry_id, [change(entry, events)])
