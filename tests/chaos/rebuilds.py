"""An operator who has read models rebuilt again and again while the faults go on, and in the end all once more."""

import asyncio
import random
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from http import HTTPStatus

import psycopg

from projections.definition import Projection
from projections.generations import start_rebuild
from projections.registry import rebuildable
from tests.chaos.projections import EventCount, PositionList
from tests.chaos.requests import Exchange, Intent, Sender
from tests.chaos.system import System

_PAUSE_SECONDS = (0.5, 2.0)
_LOOK_SECONDS = 0.2
_REQUESTS = {"rebuilds": 8, "cancellations": 1, "rollbacks": 2}
OF_THE_TEST: Mapping[str, Projection] = {EventCount.NAME: EventCount(), PositionList.NAME: PositionList()}
"""No API knows them: they are rebuilt by the function that its requests lead to."""

_LIVE = "select projection, generation from varve.generations where status = 'live'"
_HIGHEST = "select projection, max(generation) from varve.generations group by projection"


@dataclass
class Operator:
    """Asks for rebuilds through the API, gives some up and goes back after some."""

    sender: Sender
    system: System
    choice: random.Random
    requested: int = 0
    _waiting: list[str] = field(default_factory=list)

    async def run(self, is_over: asyncio.Event) -> None:
        """Ask until told to stop: of every projection in turn, in an order that is chosen anew each time."""
        while not is_over.is_set():
            if not self._waiting:
                self._waiting = sorted({*rebuildable(), *OF_THE_TEST})
                self.choice.shuffle(self._waiting)
            name = self._waiting.pop()
            (request,) = self.choice.choices(list(_REQUESTS), list(_REQUESTS.values()))
            if name in rebuildable():
                await self._ask(request, name)
            else:
                with suppress(psycopg.OperationalError):  # PostgreSQL is down: not this time
                    await start_rebuild_directly(self.system, OF_THE_TEST[name])
            await asyncio.sleep(self.choice.uniform(*_PAUSE_SECONDS))

    async def rebuild_all(self, seconds: float) -> dict[str, tuple[int, int]]:
        """Have everything rebuilt, and return by projection the generations before and after.

        Raises:
            TimeoutError: it was not done in time.
        """
        before = dict(await self.system.rows(_LIVE))
        highest = dict(await self.system.rows(_HIGHEST))
        async with asyncio.timeout(seconds):
            for name in sorted(rebuildable()):
                while not await self._ask("rebuilds", name):  # noqa: ASYNC110 - the end of one that is running
                    await asyncio.sleep(_LOOK_SECONDS)
        for projection in OF_THE_TEST.values():
            await start_rebuild_directly(self.system, projection)
        rebuilt = sorted({*rebuildable(), *OF_THE_TEST})
        async with asyncio.timeout(seconds):
            while True:
                live = dict(await self.system.rows(_LIVE))
                if all(live[name] > highest[name] for name in rebuilt):
                    return {name: (before[name], live[name]) for name in rebuilt}
                await asyncio.sleep(_LOOK_SECONDS)

    async def _ask(self, request: str, name: str) -> bool:
        """Ask once; return whether there was something to do."""
        self.requested += 1
        key = f"operator.{self.requested}"
        intent = Intent(request, "POST", f"/admin/projections/{name}/{request}")
        answer, attempts = await self.sender.send(intent, key)
        ledger = self.sender.ledger
        ledger.exchanges.append(Exchange(self.sender.tenant, self.sender.user, key, intent, answer, attempts))
        is_refused = answer.status == HTTPStatus.CONFLICT
        if not answer.is_accepted and not is_refused:
            ledger.violated(f"{key} {request} of {name} was answered {answer.status} {answer.body}")
        return not is_refused


async def start_rebuild_directly(system: System, projection: Projection) -> None:
    """Have a projection rebuilt, unless it is being rebuilt already.

    Raises:
        psycopg.OperationalError: PostgreSQL is down.
    """
    async with system.connection() as connection, connection.transaction():
        await connection.execute("set local role varve_projector")  # the owner of the tables
        await start_rebuild(connection, projection)
