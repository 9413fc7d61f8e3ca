"""Isolation, generated from the catalogue: a new table, view or function is tested without being named here."""

from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from uuid import uuid4

import psycopg
import pytest

from domain.knowledge.entry import ENTRY
from domain.knowledge.events import KnowledgeEntryCreated
from eventstore.append import open_appender
from eventstore.mapper import PydanticMapper
from eventstore.voiding import EventVoided
from tests.builders.actors import ANN, EVE, OTTO_OPERATES
from tests.builders.appends import append_of
from tests.builders.entries import created
from tests.builders.requests import create_entry
from tests.isolation.reachable import TENANTS, WITHOUT_TENANT, isolation_faults, reachable_relations
from tests.projections.engines import until
from varve.bootstrap import event_types

DOCUMENT = b"# Layers\n\nA varve is a yearly layer of clay and silt.\n"

PARK = """
insert into varve.parked (projection, generation, position, tenant, partition)
select 'knowledge_entry_list', 1, 1000 + count(*), %s, %s from varve.parked
"""
CARRY_OUT = """
insert into varve.operator_outcomes (tenant, request_id, position, status, sentence)
values (%s, gen_random_uuid(), 1, 'done', 'It is done.')
"""


@pytest.fixture
async def filled(client_of, settings, engine, document_work, await_projections, admin):
    """Rows of two tenants in everything that the reader role can reach."""
    async with open_appender(settings.role_url("varve_writer"), PydanticMapper(event_types())) as appender:
        for tenant in TENANTS:
            stream = ENTRY.stream(uuid4())
            append = append_of({stream: [created()]}, tenant=tenant)
            tagged = replace(append, events=tuple(replace(each, tags=("a",)) for each in append.events))
            wrong = (await appender.append(tagged)).position
            voided = EventVoided(position=wrong, version=1, topic=KnowledgeEntryCreated.TOPIC, reason="a test")
            await appender.append(append_of({stream: [voided]}, after=1, tenant=tenant))
    for actor in (ANN, EVE):
        client = client_of(actor)
        entry = await create_entry(client, name=f"of {actor.tenant}", tags=["clay"], category="geology")
        target = await create_entry(client, name="the other end", description="clay and silt")
        await client.post(f"{entry.url}/links", json={"target_id": target.id, "relation": "explains"})
        uploaded = await client.post("/api/v1/documents", files={"file": (f"{actor.tenant}.md", DOCUMENT)})
        assert uploaded.status_code in {201, 202}, uploaded.text
        seen = {"X-Min-Position": uploaded.headers["X-Position"]}
        done = await client.get(uploaded.headers["Location"], params={"wait": "processed"}, headers=seen)
        assert done.json()["status"] == "processed", done.text
    await await_projections()
    await await_projections("search_vector")
    wanted = {"projections": ["knowledge_entry_list", "search_text"], "time": datetime.now(UTC).isoformat()}
    assert (await client_of(OTTO_OPERATES).post("/api/v1/admin/as-of", json=wanted)).status_code == 202
    await until(partial(are_kept, admin, 2), "read models are built as of now")
    for tenant in TENANTS:
        await admin.execute(PARK, (tenant, tenant))
        await admin.execute(CARRY_OUT, (tenant,))


async def are_kept(admin, count: int) -> bool:
    return (await admin.execute("select from varve.generations where status = 'kept'")).rowcount == count


@pytest.fixture
def open_reader(settings):
    async def connect():
        return await psycopg.AsyncConnection.connect(settings.role_url("varve_reader"), autocommit=True)

    return connect


@pytest.mark.usefixtures("filled")
async def test_the_reader_role_never_sees_another_tenant(admin, open_reader):
    relations = await reachable_relations(admin)
    assert {"varve.events", "varve.commands", "varve.events_json", "as_of.search_text_2_chunks"} < set(relations)
    for relation in relations:  # or else the rest would hold for want of rows
        tenants = await (await admin.execute(f"select distinct tenant from {relation} order by 1")).fetchall()
        assert [tenant for (tenant,) in tenants] == sorted(TENANTS), relation
    assert await isolation_faults(admin, open_reader) == []


@pytest.mark.usefixtures("filled")
async def test_the_check_finds_a_table_without_row_level_security(admin, open_reader, subtests):
    for relation in await reachable_relations(admin):
        if relation == "varve.events_json":
            continue
        with subtests.test(relation):
            await admin.execute(f"alter table {relation} disable row level security")
            faults = await isolation_faults(admin, open_reader)
            await admin.execute(f"alter table {relation} enable row level security")
            assert f"{relation} answers a new connection that has no tenant" in faults
            assert f"{relation} shows ['acme', 'umbra'] to acme" in faults


@pytest.mark.usefixtures("filled")
async def test_the_check_finds_what_reads_as_its_owner(admin, open_reader):
    await admin.execute("create view varve.leak as select * from varve.events")
    await admin.execute("grant select on varve.leak to varve_reader")
    await admin.execute(
        "create function varve.leak() returns bigint language sql security definer"
        " as 'select count(*) from varve.events'"
    )
    await admin.execute("grant execute on function varve.leak() to varve_reader")
    faults = await isolation_faults(admin, open_reader)
    assert "varve.leak is a view that reads as its owner" in faults
    assert "varve.leak() is a function that nobody has judged" in faults


async def test_what_is_left_out_has_no_tenant(admin):
    cursor = await admin.execute(
        "select attrelid::regclass::text from pg_attribute"
        " where attname = 'tenant' and attrelid = any (%s::regclass[])",
        (list(WITHOUT_TENANT),),
    )
    assert await cursor.fetchall() == []
