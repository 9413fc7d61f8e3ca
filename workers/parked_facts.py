"""Tells the log what projections have parked: their workers can't, because they have no right to append."""

import asyncio
from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid5

from psycopg.rows import class_row
from psycopg_pool import AsyncConnectionPool

from commands.bus import CommandBus
from commands.message import CommandRequest
from commands.operations.park_event import NoteParkedEvent
from domain.shared.access import system_actor
from eventstore.fault_log import FAULTS
from eventstore.position import LogPosition

_PAUSE_SECONDS = 5.0
_FACTS = UUID("0f6ad5a1-8a0c-5d38-9d5c-3f5f0b0c7e11")
_LONGEST_ERROR = 200
_UNTOLD = """
select p.projection, p.generation, p.position, p.tenant, p.error, p.attempts, n.epoch
from varve.parked p cross join (select epoch from varve.log_epochs order by number desc limit 1) n
where p.error is not null and not p.is_told order by p.position limit 100
"""
_TOLD = """
update varve.parked set is_told = true
where projection = %(projection)s and generation = %(generation)s and position = %(position)s
"""


@dataclass(frozen=True, slots=True)
class _Parked:
    projection: str
    generation: int
    position: int
    tenant: str
    error: str
    attempts: int
    epoch: str


class ParkedFacts:
    """Runs beside other work, in as many processes as like: what is told twice is in the log once."""

    def __init__(self, pool: AsyncConnectionPool[Any], commands: CommandBus) -> None:
        self._pool = pool
        self._commands = commands

    async def run(self) -> None:
        """Look every few seconds, until cancelled."""
        while True:
            try:
                await self.tell_once()
            except Exception as error:  # noqa: BLE001 - what is not told now is told later; nothing else may end
                FAULTS.note("parked_facts.failed", error)
            await asyncio.sleep(_PAUSE_SECONDS)

    async def tell_once(self) -> None:
        """Tell of what is parked, with an error, and was not told of yet."""
        async with self._pool.connection() as connection:
            cursor = connection.cursor(row_factory=class_row(_Parked))
            untold = await (await cursor.execute(_UNTOLD, prepare=True)).fetchall()
        for parked in untold:
            await self._tell(parked)
            place = {"projection": parked.projection, "generation": parked.generation, "position": parked.position}
            async with self._pool.connection() as connection:
                await connection.execute(_TOLD, place)

    async def _tell(self, parked: _Parked) -> None:
        """Send a command whose id follows from what is parked and where: the log keeps it once."""
        command = NoteParkedEvent(
            projection=parked.projection,
            generation=parked.generation,
            position=str(LogPosition(parked.epoch, parked.position)),
            error=parked.error[:_LONGEST_ERROR],
            attempts=max(1, parked.attempts),
        )
        command_id = uuid5(_FACTS, f"{parked.projection}/{parked.generation}/{parked.position}")
        request = CommandRequest(actor=system_actor(parked.tenant), command_id=command_id, correlation_id=command_id)
        await self._commands.execute(command, request)
