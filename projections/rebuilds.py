"""Ends what rebuilds have begun, as their purpose says, and does what operators ask of them meanwhile."""

from collections.abc import Mapping, Sequence
from typing import Any, assert_never

import structlog

from projections.as_of import keep_when_complete
from projections.definition import Connection, Generation, Projection
from projections.generations import LOCK
from projections.leases import LaneLease
from projections.shared_log import SharedLog
from projections.verification import repair_when_level, verify_when_level

log = structlog.get_logger()

# A statement of its own: the next one sees what was committed before these rows were free.
_LOCK_LANES = "select from varve.leases where projection = %(projection)s order by generation, first_slot for update"
_CAUGHT_UP = """
select bool_or(g.status = 'building' and g.generation = %(generation)s and g.purpose = 'swap') as is_building,
       min(l.position) filter (where g.generation = %(generation)s)
       -- A live lane may be beyond the log's end when the log was put back without it.
       >= least(coalesce(max(l.position) filter (where g.status = 'live'), 0), varve.head())
       -- What fails in the new one only must not be swapped in unseen.
       and (select count(*) filter (where p.generation = %(generation)s)
                   <= count(*) filter (where p.generation <> %(generation)s)
            from varve.parked p join varve.generations pg using (projection, generation)
            where p.projection = %(projection)s
              and (pg.status = 'live' or p.generation = %(generation)s)) as is_caught_up
from varve.lanes l join varve.generations g using (projection, generation)
where l.projection = %(projection)s and g.status in ('building', 'live')
"""
_RETIRE = """
update varve.generations set status = 'retired'
where projection = %(projection)s and status = 'live'
"""
_PROMOTE = """
update varve.generations set status = 'live', live_since = clock_timestamp()
where projection = %(projection)s and generation = %(generation)s and status = 'building'
"""
_ASK_FOR_SWAP = """
update varve.generations set purpose = 'swap'
where projection = %(projection)s and status = 'building' and purpose = 'hold'
returning generation
"""
# It may have been paused when it was live: who asks for it has it run.
_ROLL_BACK = """
update varve.generations set status = 'building', purpose = 'swap', paused_at = null, pause_reason = null
where projection = %(projection)s and status = 'retired'
  and not exists (select from varve.generations
                  where projection = %(projection)s and status = 'building' and purpose <> 'as_of')
  and generation = (
    select max(r.generation) from varve.generations r join varve.generations l using (projection)
    where r.projection = %(projection)s and r.status = 'retired' and l.status = 'live' and r.live_since is not null)
returning generation
"""
_PAUSE = """
update varve.generations set paused_at = clock_timestamp(), pause_reason = %(reason)s
where projection = %(projection)s and paused_at is null and generation = coalesce(%(generation)s, generation)
  and status in ('live', 'building')
returning generation
"""
_RESUME = """
update varve.generations set paused_at = null, pause_reason = null
where projection = %(projection)s and generation = coalesce(%(generation)s, generation) and paused_at is not null
  and status in ('live', 'building')
returning generation
"""


async def end_when_caught_up(
    connection: Connection, projection: Projection, lease: LaneLease, shared_log: SharedLog
) -> bool:
    """Do what the lease's generation was built for, if it is far enough; return whether its building is over."""
    purpose = lease.purpose
    match purpose:
        case "swap":
            return await swap_when_caught_up(connection, lease.tables)
        case "hold":
            return False
        case "verify":
            return await verify_when_level(connection, projection, lease, shared_log)
        case "repair":
            return await repair_when_level(connection, projection, lease, shared_log)
        case "as_of":
            return await keep_when_complete(connection, lease.tables)
        case _:
            assert_never(purpose)


async def swap_when_caught_up(connection: Connection, generation: Generation) -> bool:
    """Make `generation` the one that is read, if it has everything that the live one has.

    Return whether its building is over: another lane may have made it live, or an operator may have given it up.
    """
    parameters = {"projection": generation.projection, "generation": generation.number}
    async with connection.transaction():
        # A statement of its own: after the wait, what another lane's swap has changed is seen.
        await connection.execute(LOCK)
        await connection.execute(_LOCK_LANES, parameters)
        cursor = await connection.execute(_CAUGHT_UP, parameters)
        is_building, is_caught_up = await cursor.fetchone() or (None, None)
        if not is_building or not is_caught_up:
            return not is_building
        await connection.execute(_RETIRE, parameters)
        await connection.execute(_PROMOTE, parameters)
    log.info("projection.swapped", projection=generation.projection, generation=generation.number)
    return True


async def ask_for_swap(connection: Connection, projection: str) -> int | None:
    """Have the generation that waits for being asked swapped in as soon as it has caught up; return its number."""
    return next(iter(await _change(connection, _ASK_FOR_SWAP, {"projection": projection})), None)


async def roll_back(connection: Connection, projection: str) -> int | None:
    """Have the last generation that was live catch up, and then swapped in as a rebuilt one is; return its number."""
    return next(iter(await _change(connection, _ROLL_BACK, {"projection": projection})), None)


async def pause(connection: Connection, projection: str, reason: str, generation: int | None = None) -> Sequence[int]:
    """Let no worker run a projection, or one generation of it, until it is resumed; its rows can still be read.

    Return the numbers of the generations that were not paused before.
    """
    parameters = {"projection": projection, "generation": generation, "reason": reason}
    return await _numbers(connection, _PAUSE, parameters)


async def resume(connection: Connection, projection: str, generation: int | None = None) -> Sequence[int]:
    """Let workers run a projection again, or one generation of it; return the numbers of those that were paused."""
    return await _numbers(connection, _RESUME, {"projection": projection, "generation": generation})


async def _change(connection: Connection, sql: str, parameters: Mapping[str, Any]) -> Sequence[int]:
    """Change generations while nothing else does."""
    async with connection.transaction():
        await connection.execute(LOCK)
        return await _numbers(connection, sql, parameters)


async def _numbers(connection: Connection, sql: str, parameters: Mapping[str, Any]) -> Sequence[int]:
    cursor = await connection.execute(sql, parameters)
    return sorted(number for (number,) in await cursor.fetchall())
