"""Builds read models as they stood at a past position of the log, in tables of their own beside what is read."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import structlog

from projections.definition import Connection, Generation, Projection
from projections.generations import LOCK, Made, create_generation

log = structlog.get_logger()

_FROM = "select position, recorded_at from varve.events where position >= %s order by position limit 1"
_EXISTS = "select from varve.generations where as_of = %s and projection = %s"
_KEEP = """
update varve.generations g set status = 'kept'
where g.projection = %(projection)s and g.generation = %(generation)s and g.status = 'building'
  and (select bool_and(l.position >= g.up_to) from varve.lanes l
       where (l.projection, l.generation) = (g.projection, g.generation))
"""
_IS_OVER = """
select status <> 'building' from varve.generations where projection = %(projection)s and generation = %(generation)s
"""
# None of them was live, and so they are dropped as any other that nobody needs.
_DROP = "update varve.generations set status = 'retired' where as_of = %s and status <> 'retired'"


@dataclass(frozen=True, slots=True)
class AsOf:
    """What an auditor asked for: the read models of all tenants or of one, as of a position."""

    as_of: UUID
    position: int
    only_tenant: str | None


async def start_as_of(connection: Connection, projection: Projection, wanted: AsOf) -> None:
    """Make what `projection` fills up to the position, and then leaves alone; nothing if it was made before."""
    async with connection.transaction():
        await connection.execute(LOCK)
        if (await connection.execute(_EXISTS, (wanted.as_of, projection.NAME))).rowcount:
            return
        made = Made("building", "as_of", wanted.only_tenant, wanted.position, wanted.as_of)
        generation = await create_generation(connection, projection, made)
    log.info("projection.as_of_started", projection=projection.NAME, generation=generation.number)


async def keep_when_complete(connection: Connection, generation: Generation) -> bool:
    """Let nobody write `generation` any more when every lane has reached the end; return whether it is over."""
    parameters = {"projection": generation.projection, "generation": generation.number}
    if (await connection.execute(_KEEP, parameters)).rowcount:
        log.info("projection.as_of_built", projection=generation.projection, generation=generation.number)
        return True
    row = await (await connection.execute(_IS_OVER, parameters)).fetchone()
    return row is None or bool(row[0])


async def drop_as_of(connection: Connection, as_of: UUID) -> int:
    """Drop what was built, or is being built; return how many read models."""
    return (await connection.execute(_DROP, (as_of,))).rowcount


async def position_at(connection: Connection, time: datetime, head: int) -> int:
    """Return the position of the last event up to `head` that was recorded by `time`, 0 if there is none.

    Bisects: the log has no index over times, and they never run against positions.
    """
    found, later = 0, head + 1
    while later - found > 1:
        middle = (found + later) // 2
        row = await (await connection.execute(_FROM, (middle,), prepare=True)).fetchone()
        if row is None or row[1] > time:
            later = middle
        else:
            found = row[0]
    return found
