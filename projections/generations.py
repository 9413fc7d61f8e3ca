"""Makes, swaps and drops the generations of projections. One pointer decides which one is read."""

import contextlib
from collections.abc import Collection, Iterable, Sequence

import psycopg
import structlog

from eventstore.slots import SLOTS
from projections.definition import Connection, Generation, Projection
from projections.succession import Turn, turns_of

log = structlog.get_logger()

_LOCK = "select pg_advisory_xact_lock(7235419873250118)"

_INSERT = """
insert into varve.generations (projection, generation, status, lanes, definition, tables, is_indexed, live_since,
                               newest_version)
select %(projection)s, %(generation)s, %(status)s, %(lanes)s, %(definition)s, %(tables)s, %(is_indexed)s,
       case when %(status)s = 'live' then clock_timestamp() end,
       greatest(split_part(%(definition)s, '.', 1)::integer, max(newest_version))
from varve.generations where projection = %(projection)s
"""
_INSERT_LANES = """
with lanes as (
    insert into varve.leases (projection, generation, first_slot, last_slot)
    select %(projection)s, %(generation)s, lane * %(slots)s / %(lanes)s, (lane + 1) * %(slots)s / %(lanes)s - 1
    from generate_series(0, %(lanes)s - 1) as lane
    returning projection, generation, first_slot
)
insert into varve.checkpoints (projection, generation, first_slot, position) select *, 0 from lanes
"""
_SET_LANES = """
update varve.generations g set lanes = wanted.lanes
from unnest(%(projections)s::text[], %(lanes)s::smallint[]) as wanted (projection, lanes)
where g.projection = wanted.projection and g.status in ('building', 'live') and g.lanes <> wanted.lanes
"""
# Whoever runs the lanes now loses them at the next batch: its code may do otherwise.
_HAND_OVER = """
with handed_over as (
    update varve.generations
    set definition = %(definition)s,
        newest_version = greatest(newest_version, split_part(%(definition)s, '.', 1)::integer)
    where projection = %(projection)s and status = 'live'
    returning projection, generation
)
update varve.leases l set fence = l.fence + 1, owner = null, leased_until = null
from handed_over h where (l.projection, l.generation) = (h.projection, h.generation)
"""
_SECURE = """
alter table {table} enable row level security;
create policy own_tenant on {table} for select to varve_reader using (tenant = (select varve.tenant()));
create policy all_tenants on {table} for select to varve_admin using (true);
grant select on {table} to varve_reader, varve_admin;
"""
# A statement of its own: the next one sees what was committed before these rows were free.
_LOCK_LANES = "select from varve.leases where projection = %(projection)s order by generation, first_slot for update"
_CAUGHT_UP = """
select bool_or(g.status = 'building' and g.generation = %(generation)s) as is_building,
       min(l.position) filter (where g.generation = %(generation)s)
       -- A live lane may be beyond the log's end when the log was put back without it.
       >= least(coalesce(max(l.position) filter (where g.status = 'live'), 0), varve.head())
       -- What fails in the new one only must not be swapped in unseen.
       and (select count(*) filter (where p.generation = %(generation)s)
                   <= count(*) filter (where p.generation <> %(generation)s)
            from varve.parked p join varve.generations pg using (projection, generation)
            where p.projection = %(projection)s and pg.status in ('building', 'live')) as is_caught_up
from varve.lanes l join varve.generations g using (projection, generation)
where l.projection = %(projection)s and g.status in ('building', 'live')
"""
# The row is locked: another lane may be at it.
_FOR_INDEXES = """
select g.is_indexed,
       (select bool_and(l.position > 0) from varve.lanes l
        where (l.projection, l.generation) = (g.projection, g.generation)) or varve.head() = 0
from varve.generations g where g.projection = %(projection)s and g.generation = %(generation)s for update
"""
_INDEXED = """
update varve.generations set is_indexed = true where projection = %(projection)s and generation = %(generation)s
"""
_RETIRE = """
update varve.generations set status = 'retired'
where projection = %(projection)s and status = 'live'
"""
_PROMOTE = """
update varve.generations set status = 'live', live_since = clock_timestamp()
where projection = %(projection)s and generation = %(generation)s and status = 'building'
"""
# Given up, it is dropped as any other that nobody needs: none is newer than the live one.
_CANCEL = """
update varve.generations set status = 'retired' where projection = %s and status = 'building'
"""
_ROLL_BACK = """
update varve.generations set status = 'building'
where projection = %(projection)s and status = 'retired'
  and not exists (select from varve.generations where projection = %(projection)s and status = 'building')
  and generation = (
    select max(r.generation) from varve.generations r join varve.generations l using (projection)
    where r.projection = %(projection)s and r.status = 'retired' and l.status = 'live' and r.live_since is not null)
"""
_PAUSE = """
update varve.generations set paused_at = clock_timestamp(), pause_reason = %(reason)s
where projection = %(projection)s and paused_at is null and generation = coalesce(%(generation)s, generation)
  and status in ('live', 'building')
"""
_RESUME = "update varve.generations set paused_at = null, pause_reason = null where projection = %s"
_SUPERFLUOUS = """
select projection, generation, tables from (
    select projection, generation, tables, live_since,
           row_number() over (partition by projection order by live_since desc nulls last) as age
    from varve.generations where status = 'retired'
) retired
where age > 1 or live_since is null
"""
_LOCK_GENERATION = """
select from varve.generations where projection = %(projection)s and generation = %(generation)s for update
"""
_DELETE = "delete from varve.generations where projection = %(projection)s and generation = %(generation)s"


async def ensure_live(connection: Connection, projections: Collection[Projection]) -> frozenset[str]:
    """Make the generations of this code's definitions where it is their turn; return the projections that must wait.

    A projection that has no generation gets its first one. Where newer code has changed it, the next one is filled;
    what the older code has made is read, and run by workers of that code, until it has caught up. A reactor has no
    tables: newer code goes on where older code was.
    """
    turns = await turns_of(connection, projections)
    if any(turn in {Turn.FIRST, Turn.NEXT} for turn in turns.values()):
        async with connection.transaction():
            await connection.execute(_LOCK)
            turns = await turns_of(connection, projections)  # another worker may have done it meanwhile
            for projection in projections:
                await _take_turn(connection, projection, turns[projection.NAME])
    return frozenset(name for name, turn in turns.items() if turn is Turn.WAITING)


async def _take_turn(connection: Connection, projection: Projection, turn: Turn) -> None:
    match turn:
        case Turn.FIRST:
            await _create(connection, projection, Generation(projection.NAME, 1), "live")
        case Turn.NEXT if projection.IS_REBUILDABLE:
            await cancel_rebuild(connection, projection.NAME)  # of older code, or one that nobody is left to fill
            await start_rebuild(connection, projection)
        case Turn.NEXT:
            parameters = {"projection": projection.NAME, "definition": projection.definition()}
            await connection.execute(_HAND_OVER, parameters)
        case Turn.SERVED | Turn.WAITING:
            pass


async def set_lanes(connection: Connection, projections: Iterable[Projection]) -> None:
    """Let generations have as many lanes as this code says: they are split and merged until they do."""
    wanted = {projection.NAME: projection.LANES for projection in projections}
    await connection.execute(_SET_LANES, {"projections": list(wanted), "lanes": list(wanted.values())})


async def start_rebuild(connection: Connection, projection: Projection) -> Generation | None:
    """Make the next generation of `projection`, to be filled from the log; None when one is being filled already.

    Runs in the caller's transaction, if there is one.
    """
    async with connection.transaction():
        await connection.execute(_LOCK)
        cursor = await connection.execute(
            "select max(generation), bool_or(status = 'building') from varve.generations where projection = %s",
            (projection.NAME,),
        )
        row = await cursor.fetchone()
        newest, is_building = row if row is not None else (0, False)
        if is_building:
            return None
        generation = Generation(projection.NAME, (newest or 0) + 1)
        await _create(connection, projection, generation, "building")
    log.info("projection.rebuild_started", projection=projection.NAME, generation=generation.number)
    return generation


async def index_when_filled(connection: Connection, projection: Projection, generation: Generation) -> bool:
    """Make the indexes of a generation whose lanes have all been filled; return whether it has them now."""
    parameters = {"projection": generation.projection, "generation": generation.number}
    async with connection.transaction():
        await connection.execute("set local statement_timeout = 0; set local transaction_timeout = 0")
        cursor = await connection.execute(_FOR_INDEXES, parameters)
        is_indexed, is_filled = await cursor.fetchone() or (True, True)
        if is_indexed or not is_filled:
            return bool(is_indexed)
        if projection.indexes():
            await connection.execute(projection.indexes().format(**generation.tables(projection.TABLES)))
        await connection.execute(_INDEXED, parameters)
    log.info("projection.indexed", projection=generation.projection, generation=generation.number)
    return True


async def swap_when_caught_up(connection: Connection, generation: Generation) -> bool:
    """Make `generation` the one that is read, if it has everything that the live one has.

    Return whether its building is over: another lane may have made it live, or an operator may have given it up.
    """
    parameters = {"projection": generation.projection, "generation": generation.number}
    async with connection.transaction():
        # A statement of its own: after the wait, what another lane's swap has changed is seen.
        await connection.execute(_LOCK)
        await connection.execute(_LOCK_LANES, parameters)
        cursor = await connection.execute(_CAUGHT_UP, parameters)
        is_building, is_caught_up = await cursor.fetchone() or (None, None)
        if not is_building or not is_caught_up:
            return not is_building
        await connection.execute(_RETIRE, parameters)
        await connection.execute(_PROMOTE, parameters)
    log.info("projection.swapped", projection=generation.projection, generation=generation.number)
    return True


async def cancel_rebuild(connection: Connection, projection: str) -> None:
    """Give up the generation that is being filled, if there is one."""
    async with connection.transaction():
        await connection.execute(_LOCK)
        await connection.execute(_CANCEL, (projection,))


async def roll_back(connection: Connection, projection: str) -> None:
    """Have the last generation that was live catch up; then it is swapped in, as a rebuilt one is."""
    async with connection.transaction():
        await connection.execute(_LOCK)
        await connection.execute(_ROLL_BACK, {"projection": projection})


async def pause(connection: Connection, projection: str, reason: str, generation: int | None = None) -> None:
    """Let no worker run a projection, or one generation of it, until it is resumed; its rows can still be read."""
    parameters = {"projection": projection, "generation": generation, "reason": reason}
    await connection.execute(_PAUSE, parameters)


async def resume(connection: Connection, projection: str) -> None:
    """Let workers run a projection again."""
    await connection.execute(_RESUME, (projection,))


async def drop_superfluous(connection: Connection, projections: Collection[str]) -> None:
    """Drop all retired generations but the newest, which stays for a way back; those that are being read, later."""
    cursor = await connection.execute(_SUPERFLUOUS)
    for name, number, tables in await cursor.fetchall():
        if name in projections:  # others are those of newer code
            with contextlib.suppress(psycopg.errors.LockNotAvailable):
                await _drop(connection, Generation(name, number), tables)


async def _drop(connection: Connection, generation: Generation, tables: Sequence[str]) -> None:
    """Drop a generation.

    Raises:
        LockNotAvailable: somebody reads it.
    """
    parameters = {"projection": generation.projection, "generation": generation.number}
    async with connection.transaction():
        if not (await connection.execute(_LOCK_GENERATION, parameters)).rowcount:
            return  # another worker was quicker
        names = [generation.table(table) for table in tables]
        if names:
            # Whoever asked for a table while a drop waits for it would wait, too, behind the drop.
            await connection.execute(f"lock table {', '.join(names)} in access exclusive mode nowait")
            await connection.execute(f"drop table {', '.join(names)}")
        await connection.execute(_DELETE, parameters)
    log.info("projection.generation_dropped", **parameters)


async def _create(connection: Connection, projection: Projection, generation: Generation, status: str) -> None:
    is_indexed = status == "live" or projection.bulk() is None
    parameters = {
        "is_indexed": is_indexed,
        "projection": generation.projection,
        "generation": generation.number,
        "status": status,
        "lanes": projection.LANES,
        "slots": SLOTS,
        "definition": projection.definition(),
        "tables": list(projection.TABLES),
    }
    if projection.TABLES:
        tables = generation.tables(projection.TABLES)
        await connection.execute(projection.ddl().format(**tables))
        if is_indexed and projection.indexes():
            await connection.execute(projection.indexes().format(**tables))
    for table in projection.TABLES:
        await connection.execute(_SECURE.format(table=generation.table(table)))
    await connection.execute(_INSERT, parameters)
    await connection.execute(_INSERT_LANES, parameters)
