"""Create a knowledge entry, or many at once."""

from typing import Annotated, ClassVar

from pydantic import Field

from commands.message import Command, Decision, Handling, StreamDecision
from domain.knowledge.entry import ENTRY, NewEntry, decide_create
from domain.shared.access import Permission
from eventstore.turns import Turn

MAX_BATCH = 500


class CreateKnowledgeEntry(Command):
    PERMISSION: ClassVar[Permission] = Permission.KNOWLEDGE_WRITE

    entry: NewEntry


class CreateKnowledgeEntries(Command):
    """All of them or none."""

    PERMISSION: ClassVar[Permission] = Permission.KNOWLEDGE_WRITE

    entries: Annotated[tuple[NewEntry, ...], Field(min_length=1, max_length=MAX_BATCH)]


async def create_entry(command: CreateKnowledgeEntry, handling: Handling) -> Decision:
    entry_id = handling.new_id()
    events = decide_create(entry_id, command.entry, handling.actor)
    return Decision(entry_id, [StreamDecision(ENTRY.stream(entry_id), 0, events)])


async def create_entries(command: CreateKnowledgeEntries, handling: Handling) -> Decision:
    ids = [handling.new_id() for _ in command.entries]
    streams = []
    turn = Turn()
    for entry_id, entry in zip(ids, command.entries, strict=True):
        streams.append(StreamDecision(ENTRY.stream(entry_id), 0, decide_create(entry_id, entry, handling.actor)))
        await turn.pause()
    return Decision(None, streams, result={"entry_ids": [str(entry_id) for entry_id in ids]})
