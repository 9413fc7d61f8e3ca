"""Compares a rebuilt generation with the live one, row by row after the same events, or repairs one tenant by it."""

from collections.abc import Awaitable, Callable, Mapping, Sequence

import psycopg
import structlog
from psycopg import sql
from psycopg.types.json import Jsonb

from projections.definition import Connection, Generation, Projection
from projections.leases import LaneLease
from projections.levelling import Level, NotFoldedError, NotLevelError, building_and_live, go_on, level
from projections.shared_log import SharedLog

log = structlog.get_logger()

_SHOWN_KEYS = 5
_Difference = tuple[int, list[dict[str, str | int]]]
"""How many rows of a table differ, and the keys of the first ones."""

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


class _Pair:
    """A table of both generations: its columns, and the SQL about them."""

    def __init__(self, both: Level, table: str, columns: Sequence[tuple[str, bool]]) -> None:
        of_tenant = sql.SQL("" if both.only_tenant is None else "where tenant = %(only_tenant)s")
        names = sql.SQL(", ").join(sql.Identifier(name) for name, _ in columns)
        key = [name for name, is_key in columns if is_key]
        self._parts: Mapping[str, sql.Composable] = {
            "live": _qualified(both.live, table),
            "built": _qualified(both.built, table),
            "where": of_tenant,
            "columns": names,
            "key": sql.SQL(", ").join(sql.SQL("{}, d.{}").format(sql.Literal(k), sql.Identifier(k)) for k in key),
            "same_key": sql.SQL(" and ").join(sql.SQL("l.{0} = d.{0}").format(sql.Identifier(k)) for k in key),
        }

    def query(self, template: str) -> sql.Composed:
        return sql.SQL(template).format(**self._parts)


async def verify_when_level(
    connection: Connection, projection: Projection, lease: LaneLease, shared_log: SharedLog
) -> bool:
    """Compare the lease's generation with the live one and note what differs, if its lanes are far enough.

    Nothing that others write is locked: it is one snapshot that is compared. Return whether it is over.
    """

    async def verify() -> bool:
        await connection.execute("set transaction isolation level repeatable read")
        await connection.execute("set local statement_timeout = 0; set local transaction_timeout = 0")
        found = await building_and_live(connection, lease)
        if found is None:
            return True
        both = await level(connection, projection, lease, shared_log, *found)
        await _record(connection, both, await _differences(connection, both, projection), is_repaired=False)
        return True

    return await _in_transaction(connection, lease, verify)


async def repair_when_level(
    connection: Connection, projection: Projection, lease: LaneLease, shared_log: SharedLog
) -> bool:
    """Put the rows of the tenant that the lease's generation is of into the live one, if its lanes are far enough.

    Rows that are the same stay untouched. Readers see all of it at once, and go on; lanes that write wait for it. What
    is parked of the tenant is what the new rows lack. Return whether it is over.
    """

    async def repair() -> bool:
        await connection.execute("set local statement_timeout = 0; set local transaction_timeout = 0")
        await connection.execute("set local lock_timeout = '1s'")
        found = await building_and_live(connection, lease)
        if found is None:
            return True
        # What was committed up to the lock is all that there is, and positions say how far that is.
        tables = [each.table(name) for name in projection.TABLES for each in (found[0], lease.tables)]
        await connection.execute(f"lock table {', '.join(tables)} in share row exclusive mode")
        both = await level(connection, projection, lease, shared_log, *found)
        differences = await _differences(connection, both, projection)
        for name in (name for name, (count, _) in differences.items() if count):
            pair = await _pair(connection, both, name)
            await connection.execute(pair.query(_DELETE), both.parameters)
            await connection.execute(pair.query(_INSERT), both.parameters)
        await _take_parked(connection, both)
        await _record(connection, both, differences, is_repaired=True)
        return True

    return await _in_transaction(connection, lease, repair)


async def _in_transaction(connection: Connection, lease: LaneLease, work: Callable[[], Awaitable[bool]]) -> bool:
    """Do `work`, or have the lanes go on to a later position when what is between can't be folded in it."""
    try:
        async with connection.transaction():
            return await work()
    except (NotLevelError, psycopg.errors.LockNotAvailable, psycopg.errors.SerializationFailure):
        return False
    except NotFoldedError as error:
        log.info("projection.not_folded", projection=lease.projection, reason=repr(error.__cause__))
        await go_on(connection, lease)
        return False


async def _differences(connection: Connection, both: Level, projection: Projection) -> dict[str, _Difference]:
    """Return by table how many rows differ or are in one generation only, and the first keys of them."""
    found: dict[str, _Difference] = {}
    for name in projection.TABLES:
        pair = await _pair(connection, both, name)
        parameters = both.parameters | {"shown": _SHOWN_KEYS}
        row = await (await connection.execute(pair.query(_DIFFERENCES), parameters)).fetchone()
        found[name] = row or (0, [])
    return found


async def _pair(connection: Connection, both: Level, name: str) -> _Pair:
    tables = {"live": both.live.table(name), "built": both.built.table(name)}
    return _Pair(both, name, await (await connection.execute(_COLUMNS, tables)).fetchall())


async def _take_parked(connection: Connection, both: Level) -> None:
    parked = await (await connection.execute(_PARKED, both.parameters)).fetchone()
    if parked is not None and parked[0]:
        await connection.execute(_FORGET_PARKED, both.parameters)
        await connection.execute(_TAKE_PARKED, both.parameters)
        await connection.execute(_BEGIN_ANEW, both.parameters)


async def _record(
    connection: Connection,
    both: Level,
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
    await connection.execute(_RECORD, both.parameters | result)
    await connection.execute(_RETIRE, both.parameters)
    log.info(
        "projection.repaired" if is_repaired else "projection.verified",
        projection=both.built.projection,
        generation=both.built.number,
        position=both.position,
        differing=differing,
    )


def _qualified(generation: Generation, table: str) -> sql.Identifier:
    return sql.Identifier(*generation.table(table).split("."))
