"""Makes and drops the generations of projections. One pointer decides which one is read."""

import contextlib
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal
from uuid import UUID

import psycopg
import structlog

from eventstore.log import head
from eventstore.slots import SLOTS
from eventstore.wake import LANES_CHANNEL
from projections.definition import Connection, Generation, Projection, Purpose
from projections.succession import Turn, turns_of

log = structlog.get_logger()

LOCK = "select pg_advisory_xact_lock(7235419873250118)"
"""Held by whoever makes generations, or changes what they are."""

_INSERT = """
insert into varve.generations (projection, generation, status, lanes, definition, tables, is_indexed, live_since,
                               purpose, only_tenant, up_to, as_of, newest_version)
select %(projection)s, %(generation)s, %(status)s, %(lanes)s, %(definition)s, %(tables)s, %(is_indexed)s,
       case when %(status)s = 'live' then clock_timestamp() end,
       %(purpose)s, %(only_tenant)s, %(up_to)s, %(as_of)s,
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
# The row is locked: another lane may be at it.
_FOR_INDEXES = """
select g.is_indexed,
       (select bool_and(l.position > 0) from varve.lanes l
        where (l.projection, l.generation) = (g.projection, g.generation)) or coalesce(g.up_to, varve.head()) = 0
from varve.generations g where g.projection = %(projection)s and g.generation = %(generation)s for update
"""
_INDEXED = """
update varve.generations set is_indexed = true where projection = %(projection)s and generation = %(generation)s
"""
_NEXT = """
insert into varve.newest_generations as n values (%s, 1)
on conflict (projection) do update set generation = n.generation + 1 returning generation
"""
_BUILDING = """
select from varve.generations where projection = %s and status = 'building' and purpose <> 'as_of'
"""
# Given up, it is dropped as any other that nobody needs: none is newer than the live one.
_CANCEL = """
update varve.generations set status = 'retired'
where projection = %s and status = 'building' and purpose <> 'as_of' returning generation
"""
_SUPERFLUOUS = """
select projection, generation, tables, as_of from (
    select projection, generation, tables, as_of, live_since,
           row_number() over (partition by projection order by live_since desc nulls last) as age
    from varve.generations where status = 'retired'
) retired
where age > 1 or live_since is null
"""
_LOCK_GENERATION = """
select from varve.generations where projection = %(projection)s and generation = %(generation)s for update
"""
_DELETE = "delete from varve.generations where projection = %(projection)s and generation = %(generation)s"


@dataclass(frozen=True, slots=True)
class Made:
    """As what a generation is made, and of what part of the log: of one tenant alone, up to a position.

    `as_of` is the id of what it is a part of, if it shows the read model as of that position.
    """

    status: Literal["live", "building"]
    purpose: Purpose
    only_tenant: str | None = None
    up_to: int | None = None
    as_of: UUID | None = None


async def ensure_live(connection: Connection, projections: Collection[Projection]) -> frozenset[str]:
    """Make the generations of this code's definitions where it is their turn; return the projections that must wait.

    A projection that has no generation gets its first one. Where newer code has changed it, the next one is filled;
    what the older code has made is read, and run by workers of that code, until it has caught up. A reactor has no
    tables: newer code goes on where older code was.

    Raises:
        LockNotAvailable: another worker is at it.
    """
    turns = await turns_of(connection, projections)
    if any(turn in {Turn.FIRST, Turn.NEXT} for turn in turns.values()):
        async with connection.transaction():
            await connection.execute("set local lock_timeout = '1s'")
            await connection.execute(LOCK)
            turns = await turns_of(connection, projections)  # another worker may have done it meanwhile
            for projection in projections:
                await _take_turn(connection, projection, turns[projection.NAME])
    return frozenset(name for name, turn in turns.items() if turn is Turn.WAITING)


async def _take_turn(connection: Connection, projection: Projection, turn: Turn) -> None:
    match turn:
        case Turn.FIRST:
            await create_generation(connection, projection, Made("live", "swap"))
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


async def start_rebuild(
    connection: Connection, projection: Projection, purpose: Purpose = "swap", only_tenant: str | None = None
) -> Generation | None:
    """Make the next generation of `projection`, to be filled from the log; None when one is being filled already.

    Runs in the caller's transaction, if there is one.
    """
    async with connection.transaction():
        await connection.execute(LOCK)
        if (await connection.execute(_BUILDING, (projection.NAME,))).rowcount:
            return None
        end = await head(connection) if purpose in {"verify", "repair"} else None
        generation = await create_generation(connection, projection, Made("building", purpose, only_tenant, end))
    log.info("projection.rebuild_started", projection=projection.NAME, generation=generation.number, purpose=purpose)
    return generation


async def create_generation(connection: Connection, projection: Projection, made: Made) -> Generation:
    """Make the next generation with its tables and lanes, in the transaction that is open on `connection`."""
    (number,) = await (await connection.execute(_NEXT, (projection.NAME,))).fetchone() or (1,)
    generation = Generation(projection.NAME, number, made.as_of)
    is_indexed = made.status == "live" or not projection.TABLES
    parameters = {
        "is_indexed": is_indexed,
        "projection": generation.projection,
        "generation": generation.number,
        "status": made.status,
        "purpose": made.purpose,
        "only_tenant": made.only_tenant,
        "up_to": made.up_to,
        "as_of": made.as_of,
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
    await connection.execute("select pg_notify(%s, '')", (LANES_CHANNEL,))
    return generation


async def index_when_filled(connection: Connection, projection: Projection, generation: Generation) -> bool:
    """Make the indexes and statistics of a generation whose lanes have all been filled; return whether it has them."""
    parameters = {"projection": generation.projection, "generation": generation.number}
    async with connection.transaction():
        await connection.execute("set local statement_timeout = 0; set local transaction_timeout = 0")
        cursor = await connection.execute(_FOR_INDEXES, parameters)
        is_indexed, is_filled = await cursor.fetchone() or (True, True)
        if is_indexed or not is_filled:
            return bool(is_indexed)
        tables = generation.tables(projection.TABLES)
        if projection.indexes():
            await connection.execute(projection.indexes().format(**tables))
        # Nobody has read them yet, and whoever does must not wait for autovacuum to be given the right plan.
        await connection.execute(f"analyze {', '.join(tables.values())}")
        await connection.execute(_INDEXED, parameters)
    log.info("projection.indexed", projection=generation.projection, generation=generation.number)
    return True


async def cancel_rebuild(connection: Connection, projection: str) -> int | None:
    """Give up the generation that is being filled, and return its number, if there is one."""
    async with connection.transaction():
        await connection.execute(LOCK)
        row = await (await connection.execute(_CANCEL, (projection,))).fetchone()
    return None if row is None else int(row[0])


async def drop_superfluous(connection: Connection, projections: Collection[str]) -> None:
    """Drop all retired generations but the newest, which stays for a way back; those that are being read, later."""
    cursor = await connection.execute(_SUPERFLUOUS)
    for name, number, tables, as_of in await cursor.fetchall():
        if name in projections:  # others are those of newer code
            with contextlib.suppress(psycopg.errors.LockNotAvailable):
                await _drop(connection, Generation(name, number, as_of), tables)


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
