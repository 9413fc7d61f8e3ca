"""Faults that an operator has to mend, as clients and operators see them: never a bug, never silent."""

import contextlib

import psycopg
import pytest
from httpx import AsyncClient
from psycopg_pool import PoolTimeout
from structlog.testing import capture_logs

from eventstore.fault_log import FAULTS
from eventstore.faults import fault_of
from tests.api.problem import require_problem
from tests.builders.requests import ENTRIES, create_entry
from varve.pools import open_pool

REFUSE = """
create function refuse() returns trigger language plpgsql as
$$ begin raise exception 'it is so' using errcode = '{state}'; end $$;
create trigger refuse before insert on varve.events for each statement execute function refuse();
"""
HEALED = "drop trigger refuse on varve.events; drop function refuse"


@pytest.fixture(autouse=True)
def forgotten():
    FAULTS.forget()
    yield
    FAULTS.forget()


@contextlib.asynccontextmanager
async def refusing(admin, state):
    await admin.execute(REFUSE.format(state=state))
    try:
        yield
    finally:
        await admin.execute(HEALED)


@pytest.mark.parametrize(
    ("state", "kind"), [("53100", "disk_full"), ("58030", "io_error"), ("25006", "read_only_sql_transaction")]
)
async def test_a_command_that_can_t_be_stored_is_told_so_at_once_and_readiness_says_why(
    admin, ann: AsyncClient, client: AsyncClient, state, kind
):
    with capture_logs() as logs:
        async with refusing(admin, state):
            for _ in range(20):
                answer = await ann.post(ENTRIES, json={"name": "Sediment"})
                require_problem(answer, 503, "storage-refused")
                assert int(answer.headers["Retry-After"]) >= 1
            ready = await client.get("/health/ready")
    assert (ready.status_code, ready.json()["checks"]["storage"]) == (503, f"postgresql: {kind}")
    assert ready.json()["checks"]["postgresql"] == "ok"
    lines = [line["event"] for line in logs if line.get("fault") == kind]
    assert lines.count("append.not_stored") == 1, "one line a minute"
    await create_entry(ann)
    assert (await client.get("/health/ready")).json()["checks"]["storage"] == "ok"


@pytest.mark.parametrize(
    ("state", "status"),
    [("42501", 503), ("42P01", 503), ("53200", 503), ("XX000", 503), ("22003", 422), ("54000", 422)],
)
async def test_a_command_is_refused_for_what_it_holds_and_put_off_for_all_else(admin, ann: AsyncClient, state, status):
    async with refusing(admin, state):
        answer = await ann.post(ENTRIES, json={"name": "Sediment"})
    require_problem(answer, status, "storage-refused" if status == 503 else "invalid-append")


async def test_what_passes_while_a_command_waits_is_not_seen_by_its_client(admin, ann: AsyncClient):
    await admin.execute("create sequence tries")
    await admin.execute("grant usage on sequence tries to public")
    await admin.execute(
        REFUSE.format(state="40P01").replace(
            "begin raise", "begin if nextval('public.tries') > 2 then return null; end if; raise"
        )
    )
    try:
        await create_entry(ann)
    finally:
        await admin.execute(HEALED)


@pytest.mark.usefixtures("engine")
@pytest.mark.parametrize("broken", ["privilege", "column"])
async def test_a_read_model_that_can_t_be_read_is_unavailable_and_no_bug(admin, ann: AsyncClient, broken):
    entry = await create_entry(ann)
    assert (await ann.get(ENTRIES, headers=entry.seen)).status_code == 200
    table = "read_models.knowledge_entry_list_1_entries"
    if broken == "privilege":
        await admin.execute(f"revoke all on {table} from varve_reader")
    else:
        await admin.execute(f"alter table {table} rename column category to kind")
    with capture_logs() as logs:
        for number in range(5):
            require_problem(await ann.get(ENTRIES, params={"text": f"clay {number}"}), 503, "store-unavailable")
    kinds = [line["fault"] for line in logs if line["event"] == "read.failed"]
    assert kinds == ["insufficient_privilege" if broken == "privilege" else "undefined_column"]


async def test_readiness_tells_a_missing_right_from_a_server_that_is_away(settings, services, client: AsyncClient):
    name = settings.required_database_url().partition("?")[0].rpartition("/")[2]
    async with await psycopg.AsyncConnection.connect(services.admin_database_url, autocommit=True) as server:
        await server.execute(f"alter database {name} connection limit 0")
        try:
            ready = await client.get("/health/ready")
        finally:
            await server.execute(f"alter database {name} connection limit -1")
        assert ready.json()["checks"]["postgresql"] == "too_many_connections"
        await server.execute(f"alter database {name} allow_connections false")
        try:
            ready = await client.get("/health/ready")
        finally:
            await server.execute(f"alter database {name} allow_connections true")
        assert ready.json()["checks"]["postgresql"] == "database_missing"
    assert (await client.get("/health/ready")).status_code == 200


async def test_a_lane_that_can_t_store_shows_in_the_readiness_of_the_api(admin, client: AsyncClient):
    await admin.execute(
        "update varve.leases set failures = 1, error = 'DiskFull (53100)' where projection = 'user_activity'"
    )
    ready = await client.get("/health/ready")
    assert ready.json()["checks"]["storage"] == "postgresql: disk_full"


async def test_a_pool_without_a_connection_says_why_and_once(settings, services):
    name = settings.required_database_url().partition("?")[0].rpartition("/")[2]
    async with await psycopg.AsyncConnection.connect(services.admin_database_url, autocommit=True) as server:
        await server.execute(f"alter database {name} connection limit 0")
        with capture_logs() as logs:
            async with open_pool(settings, "varve_reader", 1) as pool:
                pool.timeout = 1.0
                for _ in range(2):
                    with pytest.raises(PoolTimeout) as raised:
                        await pool.getconn()
                    assert fault_of(raised.value).kind == "too_many_connections"
        await server.execute(f"alter database {name} connection limit -1")
    assert [(line["event"], line["fault"]) for line in logs] == [("pool.not_connected", "too_many_connections")]
