"""Compares a rebuilt generation with the live one, row by row at one position, and repairs one tenant's rows by it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import psycopg
import structlog
from psycopg import sql
from psycopg.types.json import Jsonb

from projections.definition import Connection, Generation, Projection

log = structlog.get_logger()

_SHOWN_KEYS = 5
_Difference = tuple[int, list[dict[str, str | int]]]
"""How many rows of a table differ, and the keys of the first ones."""

# One lane of a generation is enough for it. Not the row of the generation: an operator may give it up meanwhile.
_ALONE = "select pg_try_advisory_xact_lock(hashtextextended(%(projection)s, %(generation)s))"
# Rows and positions are committed together: what is seen with every lane at one position is the rows of that position.
_LEVEL = """
select b.status = 'building' as is_building, b.only_tenant, v.generation as live,
       min(l.position) as position, min(l.position) = max(l.position) as is_level
from varve.generations b
join varve.generations v on v.projection = b.projection and v.status = 'live'
join varve.lanes l on l.projection = b.projection and l.generation in (b.generation, v.generation)
where b.projection = %(projection)s and b.generation = %(generation)s
group by b.status, b.only_tenant, v.generation
"""
_COLUMNS = """
select a.attname,
       coalesce(a.attnum = any ((i.indkey::smallint[])[0:i.indnkeyatts - 1]), false) as is_key
from pg_attribute a
join pg_attribute o on o.attrelid = %(built)s::regclass and o.attname = a.attname and not o.attisdropped
left join pg_index i on i.indrelid = a.attrelid and i.indisprimary
where a.attrelid = %(live)s::regclass and a.attnum > 0 and not a.attisdropped
order by a.attnum
"""
_DIFFERENCES = """
select count(*), coalesce(jsonb_agg(key order by key) filter (where number <= %(shown)s), '[]')
from (
    select key, row_number() over (order by key) as number
    from (
        select distinct jsonb_build_object({key}) as key from (
            (select {columns} from {live} {where} except all select {columns} from {built} {where})
            union all
            (select {columns} from {built} {where} except all select {columns} from {live} {where})
        ) d
    ) keys
) numbered
"""
_DELETE = """
delete from {live} l
using (select {columns} from {live} {where} except select {columns} from {built} {where}) d
where {same_key}
"""
_INSERT = (
    "insert into {live} ({columns}) select {columns} from {built} {where} except select {columns} from {live} {where}"
)
_RECORD = """
insert into varve.verifications
    (projection, generation, only_tenant, position, is_repaired, differing, by_table, some_keys)
values (%(projection)s, %(generation)s, %(only_tenant)s, %(position)s, %(is_repaired)s, %(differing)s, %(by_table)s,
        %(some_keys)s)
"""
# None is newer than the live one, and so it is dropped.
_RETIRE = """
update varve.generations set status = 'retired'
where projection = %(projection)s and generation = %(generation)s and status = 'building'
"""
_PARKED = """
select count(*) from varve.parked
where projection = %(projection)s and generation in (%(live)s, %(generation)s) and tenant = %(only_tenant)s
"""
_FORGET_PARKED = """
delete from varve.parked where projection = %(projection)s and generation = %(live)s and tenant = %(only_tenant)s
"""
_TAKE_PARKED = """
update varve.parked set generation = %(live)s
where projection = %(projection)s and generation = %(generation)s and tenant = %(only_tenant)s
"""
# A new fence: whoever runs a lane loses it, and reads what is parked when it is begun anew.
_BEGIN_ANEW = """
update varve.leases set fence = fence + 1, owner = null, leased_until = null
where projection = %(projection)s and generation = %(live)s
"""


@dataclass(frozen=True, slots=True)
class _Level:
    """Two generations at one position."""

    built: Generation
    live: Generation
    position: int
    only_tenant: str | None

    @property
    def parameters(self) -> dict[str, str | int | None]:
        return {
            "projection": self.built.projection,
            "generation": self.built.number,
            "live": self.live.number,
            "position": self.position,
            "only_tenant": self.only_tenant,
        }


class _Pair:
    """A table of both generations: its columns, and the SQL about them."""

    def __init__(self, level: _Level, table: str, columns: Sequence[tuple[str, bool]]) -> None:
        of_tenant = sql.SQL("" if level.only_tenant is None else "where tenant = %(only_tenant)s")
        names = sql.SQL(", ").join(sql.Identifier(name) for name, _ in columns)
        key = [name for name, is_key in columns if is_key]
        self._parts: Mapping[str, sql.Composable] = {
            "live": _qualified(level.live, table),
            "built": _qualified(level.built, table),
            "where": of_tenant,
            "columns": names,
            "key": sql.SQL(", ").join(sql.SQL("{}, d.{}").format(sql.Literal(k), sql.Identifier(k)) for k in key),
            "same_key": sql.SQL(" and ").join(sql.SQL("l.{0} = d.{0}").format(sql.Identifier(k)) for k in key),
        }

    def query(self, template: str) -> sql.Composed:
        return sql.SQL(template).format(**self._parts)


async def verify_when_level(connection: Connection, projection: Projection, generation: Generation) -> bool:
    """Compare `generation` with the live one and note what differs, if all lanes of both are at one position.

    Nothing is locked, and lanes go on: it is one snapshot that is compared. Return whether it is over.
    """
    async with connection.transaction():
        await connection.execute("set transaction isolation level repeatable read")
        level = await _level(connection, generation)
        if not isinstance(level, _Level):
            return level
        await _record(connection, level, await _differences(connection, level, projection), is_repaired=False)
    return True


async def repair_when_level(connection: Connection, projection: Projection, generation: Generation) -> bool:
    """Put the rows of the tenant that `generation` is of into the live one, if both are at one position.

    Rows that are the same stay untouched. Readers see all of it at once, and go on; lanes that write wait for it. What
    is parked of the tenant is what the new rows lack. Return whether it is over.
    """
    try:
        async with connection.transaction():
            await connection.execute("set local lock_timeout = '1s'")
            level = await _level(connection, generation)
            if not isinstance(level, _Level):
                return level
            tables = [each.table(name) for name in projection.TABLES for each in (level.live, level.built)]
            await connection.execute(f"lock table {', '.join(tables)} in share row exclusive mode")
            level = await _level(connection, generation)  # as it is now that nobody writes
            if not isinstance(level, _Level):
                return level
            found = await _differences(connection, level, projection)
            for name, (differing, _) in found.items():
                if differing:
                    pair = await _pair(connection, level, name)
                    await connection.execute(pair.query(_DELETE), level.parameters)
                    await connection.execute(pair.query(_INSERT), level.parameters)
            await _take_parked(connection, level)
            await _record(connection, level, found, is_repaired=True)
    except psycopg.errors.LockNotAvailable:
        return False
    return True


async def _level(connection: Connection, generation: Generation) -> _Level | bool:
    """Return both generations if they are at one position and nobody else compares them; or else whether it is over."""
    await connection.execute("set local statement_timeout = 0; set local transaction_timeout = 0")
    parameters = {"projection": generation.projection, "generation": generation.number}
    row = await (await connection.execute(_ALONE, parameters)).fetchone()
    if row is None or not row[0]:
        return False
    is_building, only_tenant, live, position, is_level = await (
        await connection.execute(_LEVEL, parameters)
    ).fetchone() or (False, None, 0, 0, False)
    if not is_building or not is_level:
        return not is_building
    return _Level(generation, Generation(generation.projection, live), position, only_tenant)


async def _differences(connection: Connection, level: _Level, projection: Projection) -> dict[str, _Difference]:
    """Return by table how many rows differ or are in one generation only, and the first keys of them."""
    found: dict[str, _Difference] = {}
    for name in projection.TABLES:
        pair = await _pair(connection, level, name)
        parameters = level.parameters | {"shown": _SHOWN_KEYS}
        row = await (await connection.execute(pair.query(_DIFFERENCES), parameters)).fetchone()
        found[name] = row or (0, [])
    return found


async def _pair(connection: Connection, level: _Level, name: str) -> _Pair:
    tables = {"live": level.live.table(name), "built": level.built.table(name)}
    return _Pair(level, name, await (await connection.execute(_COLUMNS, tables)).fetchall())


async def _take_parked(connection: Connection, level: _Level) -> None:
    parked = await (await connection.execute(_PARKED, level.parameters)).fetchone()
    if parked is not None and parked[0]:
        await connection.execute(_FORGET_PARKED, level.parameters)
        await connection.execute(_TAKE_PARKED, level.parameters)
        await connection.execute(_BEGIN_ANEW, level.parameters)


async def _record(
    connection: Connection,
    level: _Level,
    found: Mapping[str, _Difference],
    *,
    is_repaired: bool,
) -> None:
    differing = sum(count for count, _ in found.values())
    result = {
        "is_repaired": is_repaired,
        "differing": differing,
        "by_table": Jsonb({name: count for name, (count, _) in found.items()}),
        "some_keys": Jsonb({name: keys for name, (_, keys) in found.items() if keys}),
    }
    await connection.execute(_RECORD, level.parameters | result)
    await connection.execute(_RETIRE, level.parameters)
    log.info(
        "projection.repaired" if is_repaired else "projection.verified",
        projection=level.built.projection,
        generation=level.built.number,
        position=level.position,
        differing=differing,
    )


def _qualified(generation: Generation, table: str) -> sql.Identifier:
    return sql.Identifier(*generation.table(table).split("."))
