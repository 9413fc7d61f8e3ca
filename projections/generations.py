"""Makes and drops the generations of projections. One pointer decides which one is read."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal
from uuid import UUID

import structlog

from eventstore.log import head
from eventstore.slots import SLOTS
from projections.definition import Connection, Generation, Projection, Purpose

log = structlog.get_logger()

LOCK = "select pg_advisory_xact_lock(7235419873250118)"
"""Held by whoever makes generations, or changes what they are."""

_INSERT = """
insert into varve.generations (projection, generation, status, lanes, definition, is_indexed, live_since,
                               purpose, only_tenant, up_to, as_of)
values (%(projection)s, %(generation)s, %(status)s, %(lanes)s, %(definition)s, %(is_indexed)s,
        case when %(status)s = 'live' then clock_timestamp() end,
        %(purpose)s, %(only_tenant)s, %(up_to)s, %(as_of)s)
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
update varve.generations set lanes = %(lanes)s
where projection = %(projection)s and status in ('building', 'live') and lanes <> %(lanes)s
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
_SUPERFLUOUS = """
select projection, generation, as_of from (
    select projection, generation, as_of, live_since,
           row_number() over (partition by projection order by live_since desc nulls last) as age
    from varve.generations where status = 'retired'
) retired
where age > 1 or live_since is null
"""


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


async def ensure_live(connection: Connection, projections: Iterable[Projection]) -> None:
    """Make the first generation of every projection that has none, and the next one where the code has changed.

    A generation that was made by another definition is read until the new one has caught up, but not written any more.
    """
    async with connection.transaction():
        await connection.execute(LOCK)
        cursor = await connection.execute("select projection, definition from varve.generations where status = 'live'")
        live = dict(await cursor.fetchall())
        for projection in projections:
            if projection.NAME not in live:
                await create_generation(connection, projection, Made("live", "swap"))
            elif live[projection.NAME] != projection.definition() and projection.IS_REBUILDABLE:
                await start_rebuild(connection, projection)
            else:
                await connection.execute(_SET_LANES, {"projection": projection.NAME, "lanes": projection.LANES})


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
    is_indexed = made.status == "live" or projection.bulk() is None
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


async def drop_superfluous(connection: Connection, projections: Mapping[str, Projection]) -> None:
    """Drop all retired generations but the newest, which stays for a way back; give way to readers after a second."""
    cursor = await connection.execute(_SUPERFLUOUS)
    for name, number, as_of in await cursor.fetchall():
        if name not in projections:
            continue  # newer code's projection
        generation = Generation(name, number, as_of)
        async with connection.transaction():
            await connection.execute("set local lock_timeout = '1s'")
            for table in projections[name].TABLES:
                await connection.execute(f"drop table if exists {generation.table(table)}")
            await connection.execute(
                "delete from varve.generations where projection = %s and generation = %s", (name, number)
            )
        log.info("projection.generation_dropped", projection=name, generation=number)
