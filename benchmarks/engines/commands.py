"""Commands and queries through the buses, begun at even times whether or not the last ones have ended."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from uuid import uuid4

from benchmarks.corpus import made_up_entries
from commands.knowledge.create_entry import CreateKnowledgeEntry
from commands.message import CommandRequest
from domain.knowledge.entry import NewEntry
from domain.shared.access import Actor, Role
from queries.knowledge.entry_list import ListEntries
from varve.bootstrap import Platform

ACTOR = Actor(tenant="writes", user="benchmark", roles=frozenset({Role.EDITOR}))


class Editor:
    """Creates entries and lists the newest."""

    def __init__(self, platform: Platform) -> None:
        self._platform = platform
        self._entries = made_up_entries()

    async def create(self) -> int:
        """Return the position of a new entry's event."""
        command = CreateKnowledgeEntry(entry=NewEntry(**next(self._entries)))
        request = CommandRequest(actor=ACTOR, command_id=uuid4(), correlation_id=uuid4())
        return (await self._platform.commands.execute(command, request)).position.position

    async def look(self) -> None:
        """List 20 entries."""
        await self._platform.queries.ask(ListEntries(limit=20), ACTOR)


async def evenly(call: Callable[[], Awaitable[object]], *, per_second: float, seconds: float) -> list[float]:
    """Return how many milliseconds each call took since it was due, so that a late start counts."""
    milliseconds: list[float] = []
    started = time.perf_counter()

    async def one(due: float) -> None:
        await call()
        milliseconds.append((time.perf_counter() - due) * 1000)

    async with asyncio.TaskGroup() as group:
        for number in range(max(1, round(per_second * seconds))):
            due = started + number / per_second
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            group.create_task(one(due))
    return milliseconds
