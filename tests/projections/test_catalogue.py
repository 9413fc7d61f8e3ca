"""What PostgreSQL knows of the read models' tables: the tenant comes first everywhere, and row-level security is on."""

from typing import Any

import pytest

from tests.projections.engines import Connection

_KEYS = """
select c.relname, i.relname, x.indisprimary, m.amname, a.attname
from pg_class c join pg_namespace n on n.oid = c.relnamespace
left join pg_index x on x.indrelid = c.oid left join pg_class i on i.oid = x.indexrelid
left join pg_am m on m.oid = i.relam left join pg_attribute a on a.attrelid = c.oid and a.attnum = x.indkey[0]
where n.nspname = 'read_models' and c.relkind in ('r', 'p')
"""
_UNPROTECTED = """
select c.relname from pg_class c join pg_namespace n on n.oid = c.relnamespace
where n.nspname = 'read_models' and c.relkind in ('r', 'p') and (
    not c.relrowsecurity or not exists (
        select from pg_policies p where p.schemaname = 'read_models' and p.tablename = c.relname
          and p.roles = '{varve_reader}' and p.cmd = 'SELECT' and p.qual like '%tenant()%'))
"""

pytestmark = pytest.mark.usefixtures("engine")


async def rows(admin: Connection, sql: str) -> list[Any]:
    return await (await admin.execute(sql)).fetchall()


async def test_every_table_has_a_primary_key_that_begins_with_the_tenant(admin):
    keys = await rows(admin, _KEYS)
    tables = {table for table, *_ in keys}
    assert len(tables) >= 13
    assert {table for table, _, is_primary, _, first in keys if is_primary and first == "tenant"} == tables


async def test_every_index_begins_with_the_tenant(admin):
    # The graph over vectors can hold nothing but the vectors; its tenant is filtered while it is read.
    others = [
        index for _, index, _, method, first in await rows(admin, _KEYS) if method != "hnsw" and first != "tenant"
    ]
    assert others == []


async def test_only_vectors_have_a_graph(admin):
    graphs = {table for table, _, _, method, _ in await rows(admin, _KEYS) if method == "hnsw"}
    assert graphs == {"search_vector_1_vectors"}


async def test_every_table_shows_a_reader_only_the_rows_of_its_tenant(admin):
    assert await rows(admin, _UNPROTECTED) == []


async def test_a_table_without_row_level_security_would_be_found(admin):
    await admin.execute("alter table read_models.document_status_1_documents disable row level security")
    assert await rows(admin, _UNPROTECTED) == [("document_status_1_documents",)]
