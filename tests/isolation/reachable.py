"""Everything that `varve_reader` can reach, by the catalogue, and what is wrong with how it holds tenants apart."""

from collections.abc import Awaitable, Callable
from typing import Any

import psycopg
from psycopg import sql

Connection = psycopg.AsyncConnection[Any]

WITHOUT_TENANT = {
    "varve.generations": "which generation of a read model is read: no tenant's data",
    "varve.checkpoints": "how far each projection is: no tenant's data",
    "varve.lanes": "leases and checkpoints together",
    "varve.leases": "which worker runs a projection, and its errors by name: no tenant's data",
    "varve.log_epochs": "the histories of the log: no tenant's data",
    "varve.workers": "which workers run: no tenant's data",
    "varve.verifications": "how many rows of each table differ; their keys are for varve_admin alone",
    "varve.skipped": "positions that operators took out of a projection: no tenant's data",
}
FUNCTIONS_WITHOUT_ROWS = {
    "varve.tenant()": "answers the setting itself, and raises without it",
    "varve.head()": "one number for the whole log",
    "varve.parked_count(p_projection text, p_generation integer)": "one number for all tenants",
    "varve.application_of(p_tags text[])": "a part of what it is given",
    "varve.retrying_count(p_projection text, p_generation integer)": "one number for all tenants",
    "varve.begin_reading(p_tenant text, p_models text[], p_as_of uuid)": "sets the tenant, and counts its own",
    "varve.start_reading(p_tenant text, p_models text[], p_as_of uuid)": "sets the tenant, and counts its own",
    "varve.reading_by_key(p_tenant text, p_model text)": "sets the tenant, and counts its own",
    "varve.reading_of(p_tenant text, p_model text, p_as_of uuid)": "counts what the tenant that is set may see",
    "varve.changes(p_after bigint)": "topics and positions; tenants by a number that several may share",
    "varve.recorded_after(p_position bigint)": "the time of one event, of whatever tenant",
    "varve.repairs(p_projection text)": "the number of a generation",
    "varve.check_epoch()": "the name of the log's present history",
    "varve.newest_checkpoint(p_projection text, p_generation integer, p_first_slot smallint)": "a position",
    "varve.refuse_change()": "a trigger's function: PostgreSQL refuses every direct call",
}
TENANTS = ("acme", "umbra")

_RELATIONS = """
select n.nspname || '.' || c.relname, c.relkind::text,
       coalesce('security_invoker=true' = any (c.reloptions), false), c.relrowsecurity
from pg_class c join pg_namespace n on n.oid = c.relnamespace
where c.relkind in ('r', 'p', 'v', 'm', 'f') and n.nspname not in ('pg_catalog', 'information_schema')
  and n.nspname not like 'pg_toast%'
  and has_schema_privilege('varve_reader', n.oid, 'usage')
  and has_any_column_privilege('varve_reader', c.oid, 'select')  -- a right on the table is one on its columns
order by 1
"""
_FUNCTIONS = """
select n.nspname || '.' || p.proname || '(' || pg_get_function_identity_arguments(p.oid) || ')'
from pg_proc p join pg_namespace n on n.oid = p.pronamespace
where n.nspname not in ('pg_catalog', 'information_schema') and has_schema_privilege('varve_reader', n.oid, 'usage')
  and has_function_privilege('varve_reader', p.oid, 'execute')
  and not exists (select from pg_depend d where d.objid = p.oid and d.deptype = 'e')  -- pgvector's own
order by 1
"""


async def reachable_relations(admin: Connection) -> list[str]:
    """The relations that hold tenants' rows."""
    rows = await (await admin.execute(_RELATIONS)).fetchall()
    return [name for name, *_ in rows if name not in WITHOUT_TENANT]


async def isolation_faults(admin: Connection, open_reader: Callable[[], Awaitable[Connection]]) -> list[str]:
    """Every way in which the reader role could see a row of another tenant; none, when all is well."""
    faults = [
        f"{name} is a view that reads as its owner"
        for name, kind, is_invoker, _ in await (await admin.execute(_RELATIONS)).fetchall()
        if kind in {"v", "m"} and not is_invoker
    ]
    functions = [name for (name,) in await (await admin.execute(_FUNCTIONS)).fetchall()]
    faults += [f"{name} is a function that nobody has judged" for name in set(functions) - set(FUNCTIONS_WITHOUT_ROWS)]
    for relation in await reachable_relations(admin):
        faults += await _faults_of(relation, open_reader)
    return faults


async def _faults_of(relation: str, open_reader: Callable[[], Awaitable[Connection]]) -> list[str]:
    faults = []
    async with await open_reader() as connection:
        if not await _raises_without_tenant(connection, relation):
            faults.append(f"{relation} answers a new connection that has no tenant")
        for tenant in TENANTS:
            seen = await _tenants_seen(connection, relation, tenant)
            if seen != {tenant}:
                faults.append(f"{relation} shows {sorted(seen)} to {tenant}")
            if not await _raises_without_tenant(connection, relation):
                faults.append(f"{relation} answers a connection that served {tenant} and has no tenant now")
        if await _tenants_seen(connection, relation, "nobody"):
            faults.append(f"{relation} shows rows to a tenant that has none")
    return faults


async def _raises_without_tenant(connection: Connection, relation: str) -> bool:
    try:
        await connection.execute(sql.SQL("select * from {}").format(_identifier(relation)))
    except psycopg.errors.InsufficientPrivilege:
        return True
    return False


async def _tenants_seen(connection: Connection, relation: str, tenant: str) -> set[str]:
    async with connection.transaction():
        await connection.execute("select set_config('varve.tenant', %s, true)", (tenant,))
        cursor = await connection.execute(sql.SQL("select distinct tenant from {}").format(_identifier(relation)))
        return {row[0] for row in await cursor.fetchall()}


def _identifier(relation: str) -> sql.Identifier:
    return sql.Identifier(*relation.split("."))
