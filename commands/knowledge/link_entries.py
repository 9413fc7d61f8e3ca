"""Link a knowledge entry to another one, or take a link away."""

from typing import ClassVar
from uuid import UUID

from commands.message import Command, Decision, Handling, change
from domain.knowledge.entry import ENTRY, Link, decide_link, decide_unlink
from domain.shared.access import Permission


class LinkKnowledgeEntries(Command):
    PERMISSION: ClassVar[Permission] = Permission.KNOWLEDGE_WRITE

    entry_id: UUID
    link: Link

    def aggregate_id(self) -> str:
        return str(self.entry_id)


class UnlinkKnowledgeEntries(Command):
    PERMISSION: ClassVar[Permission] = Permission.KNOWLEDGE_WRITE

    entry_id: UUID
    link: Link

    def aggregate_id(self) -> str:
        return str(self.entry_id)


async def link_entries(command: LinkKnowledgeEntries, handling: Handling) -> Decision:
    entry = await handling.load(ENTRY, command.entry_id)
    target = await handling.load(ENTRY, command.link.target_id)
    events = decide_link(entry.state, target.state, command.entry_id, command.link, handling.actor)
    return Decision(command.entry_id, [change(entry, events)])


async def unlink_entries(command: UnlinkKnowledgeEntries, handling: Handling) -> Decision:
    entry = await handling.load(ENTRY, command.entry_id)
    events = decide_unlink(entry.state, command.entry_id, command.link, handling.actor)
    return Decision(command.entry_id, [change(entry, events)])
