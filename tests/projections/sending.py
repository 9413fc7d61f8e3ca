"""Sends commands to the platform's own bus, as someone."""

from uuid import UUID, uuid4

from commands.knowledge.create_entry import CreateKnowledgeEntries, CreateKnowledgeEntry
from commands.message import Command, CommandAnswer, CommandRequest
from domain.shared.access import Actor
from tests.builders import actors
from tests.builders.entries import new_entry
from varve.bootstrap import Platform


async def send(platform: Platform, command: Command, actor: Actor = actors.ANN) -> CommandAnswer:
    request = CommandRequest(actor=actor, command_id=uuid4(), correlation_id=uuid4())
    return await platform.commands.execute(command, request)


async def create(platform: Platform, name: str = "Sediment", actor: Actor = actors.ANN) -> UUID:
    """Create one entry."""
    answer = await send(platform, CreateKnowledgeEntry(entry=new_entry(name=name)), actor)
    assert answer.aggregate_id is not None
    return answer.aggregate_id


async def create_many(platform: Platform, count: int, actor: Actor = actors.ANN) -> None:
    """Create `count` entries by one command."""
    entries = tuple(new_entry(name=f"layer {number}") for number in range(count))
    await send(platform, CreateKnowledgeEntries(entries=entries), actor)
