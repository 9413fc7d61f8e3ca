"""The log is append-only by the database, not by manners: every role, every way round."""

import psycopg
import pytest

from eventstore.append import Appender
from eventstore.batch import PARAMETERS
from tests.builders.appends import append_of
from varve.settings import LOGIN_ROLES, Settings

INSERT = "insert into varve.events (tenant, position, topic, class_version, data, metadata, recorded_at)"
CHANGES = [
    "update varve.events set topic = 'x'",
    "update varve.events set topic = 'x' where false",
    "delete from varve.events",
    "delete from varve.events where false",
    "truncate varve.events",
    "truncate varve.events cascade",
    "merge into varve.events e using (values (1)) v on true when matched then delete",
    f"{INSERT} values ('acme', 1, 'x', 1, '', '', now()) on conflict (tenant, position) do update set topic = 'x'",
]
WAYS_ROUND = [
    f"{INSERT} values ('acme', 99, 'x', 1, '', '', now())",
    "copy varve.events from stdin",
    "alter table varve.events disable trigger append_only",
    "alter table varve.events disable trigger all",
    "drop trigger append_only on varve.events",
    "alter table varve.events disable row level security",
    "drop table varve.events cascade",
    "create or replace function varve.refuse_change() returns trigger language plpgsql as 'begin return null; end'",
    "set session_replication_role = replica",
    "set role varve_owner",
    "set session authorization postgres",
    "create rule quiet as on insert to varve.events do instead nothing",
    "create trigger quiet before insert on varve.events execute function varve.refuse_change()",
    "create function varve.mine() returns int language sql as 'select 1'",
    "create table varve.mine (x int)",
    "alter role varve_reader bypassrls",
    "copy (select 1) to program 'true'",
    "select pg_read_file('/etc/hostname')",
    "delete from varve.commands",
    "update varve.commands set status = 'accepted'",
    "insert into varve.commands (tenant, id) values ('acme', gen_random_uuid())",
    "update varve.claims set stream = 'x'",
    "delete from varve.claims",
    "delete from varve.snapshots",
    "update varve.log_epochs set epoch = 'x'",
    "delete from varve.log_epochs",
    "update varve.idempotency set expires_at = now()",
]
WRITES_TO_READ_MODELS = [
    "insert into read_models.knowledge_entry_list_1_tags values ('acme', 'x', gen_random_uuid())",
    "delete from read_models.knowledge_entry_list_1_entries",
    "create table read_models.mine (x int)",
    "delete from varve.leases",
    "update varve.leases set owner = null",
    "delete from varve.checkpoints",
    "update varve.checkpoints set position = 0",
    "update varve.generations set status = 'retired'",
    "delete from varve.jobs",
    "delete from varve.embeddings",
]


async def those_that_go_through(url, statements):
    async with await psycopg.AsyncConnection.connect(url) as connection:
        allowed = []
        for statement in statements:
            try:
                await connection.execute(statement)
                allowed.append(statement)
            except psycopg.errors.InsufficientPrivilege:
                pass
            except psycopg.errors.InvalidAuthorizationSpecification:
                pass
            await connection.rollback()
        return allowed


@pytest.fixture(autouse=True)
async def one_event(appender: Appender):
    await appender.append(append_of())


@pytest.mark.parametrize("role", LOGIN_ROLES)
async def test_no_role_changes_the_log_or_goes_round_it(settings: Settings, role):
    assert await those_that_go_through(settings.role_url(role), CHANGES + WAYS_ROUND) == []


@pytest.mark.parametrize("role", ["varve_reader", "varve_writer", "varve_admin"])
async def test_only_the_projector_writes_read_models(settings: Settings, role):
    assert await those_that_go_through(settings.role_url(role), WRITES_TO_READ_MODELS) == []


@pytest.mark.parametrize("role", ["varve_reader", "varve_projector", "varve_admin"])
async def test_only_the_writer_appends(settings: Settings, role):
    append = f"select varve.append({', '.join(['null'] * PARAMETERS)})"
    settle = "select varve.settle('{acme}', array[gen_random_uuid()], '{true}', 0)"
    snapshot = "select varve.save_snapshot('acme', 's', 1, 1::smallint, 'x', '')"
    assert await those_that_go_through(settings.role_url(role), [append, settle, snapshot]) == []


@pytest.mark.parametrize("statement", CHANGES)
@pytest.mark.parametrize("role", ["varve_owner", "postgres"])
async def test_not_even_the_owner_changes_a_row(admin, role, statement):
    if role != "postgres":
        await admin.execute(f"set role {role}")
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        await admin.execute(statement)


async def test_no_login_role_is_a_superuser_or_goes_round_row_level_security(admin):
    cursor = await admin.execute(
        "select rolname from pg_roles where rolname like 'varve%'"
        " and (rolsuper or rolbypassrls or rolcreaterole or rolcreatedb or rolreplication)"
    )
    assert await cursor.fetchall() == []


async def test_no_login_role_is_a_member_of_another(admin):
    cursor = await admin.execute(
        "select m.rolname, r.rolname from pg_auth_members a join pg_roles m on m.oid = a.member"
        " join pg_roles r on r.oid = a.roleid where m.rolname like 'varve%'"
    )
    assert await cursor.fetchall() == []


async def test_the_owner_can_not_log_in(admin):
    cursor = await admin.execute("select rolcanlogin from pg_roles where rolname = 'varve_owner'")
    assert await cursor.fetchone() == (False,)
