"""What operators ask of projections, and what readers are told of events that are missing."""

import asyncio

import pytest
from httpx import AsyncClient

from tests.api.problem import require_problem
from tests.builders.requests import ENTRIES, create_entry

VIEW = "knowledge_entry_list"
TOKEN = "0123456789ab-1"
PARK = """
insert into varve.parked (projection, generation, position, tenant, partition, error, stack, attempts)
values (%s, 1, %s, %s, %s, %s, 'a stack that only operators at a prompt see', 3)
"""
REQUESTS = {
    "rebuilds": {"purpose": "verify", "tenant": "acme"},
    "swaps": {},
    "cancellations": {},
    "rollbacks": {},
    "pauses": {"reason": "its disk is full", "generation": 2},
    "resumptions": {"generation": None},
    "retries": {"position": TOKEN},
    "skips": {"position": TOKEN, "reason": "it was sent twice"},
}
EVENTS = {
    "rebuilds": "ProjectionRebuildRequested",
    "swaps": "ProjectionSwapRequested",
    "cancellations": "ProjectionRebuildCancelled",
    "rollbacks": "ProjectionRollbackRequested",
    "pauses": "ProjectionPaused",
    "resumptions": "ProjectionResumed",
    "retries": "ParkedEventsRetryRequested",
    "skips": "ParkedEventSkipped",
}


def url(request: str, name: str = VIEW) -> str:
    return f"/api/v1/admin/projections/{name}/{request}"


@pytest.mark.parametrize("request_", REQUESTS)
async def test_what_an_operator_asks_for_is_a_fact_of_the_log(otto: AsyncClient, admin, request_):
    answer = await otto.post(url(request_), json=REQUESTS[request_])
    assert answer.status_code == 202, answer.text
    cursor = await admin.execute("select topic, data from varve.events_json")
    ((topic, data),) = await cursor.fetchall()
    assert topic == f"operations.{EVENTS[request_]}"
    assert data == {"projection": VIEW, **REQUESTS[request_]}
    cursor = await admin.execute("select user_id, status from varve.commands")
    assert await cursor.fetchall() == [("otto", "accepted")]


@pytest.mark.parametrize(
    ("request_", "meant"),
    [
        ("rebuilds", {"purpose": "swap", "tenant": None}),
        ("resumptions", {"generation": None}),
    ],
)
async def test_a_request_without_a_body_is_the_usual_one(otto: AsyncClient, admin, request_, meant):
    assert (await otto.post(url(request_))).status_code == 202
    ((data,),) = await (await admin.execute("select data from varve.events_json")).fetchall()
    assert data == {"projection": VIEW, **meant}


@pytest.mark.parametrize("plan", [{"purpose": "repair"}, {"tenant": "acme"}, {"purpose": "as_of"}])
async def test_a_rebuild_without_sense_is_refused(otto: AsyncClient, plan):
    require_problem(await otto.post(url("rebuilds"), json=plan), 422, "invalid-request")


@pytest.mark.parametrize("request_", REQUESTS)
async def test_nobody_else_may_ask(ada: AsyncClient, ann: AsyncClient, request_):
    for person in (ada, ann):
        refused = await person.post(url(request_), json=REQUESTS[request_])
        require_problem(refused, 403, "permission-denied")


@pytest.mark.parametrize("request_", REQUESTS)
async def test_what_is_no_read_model_is_not_found(otto: AsyncClient, request_):
    for name in ("nothing", "operator_requests"):
        refused = await otto.post(url(request_, name), json=REQUESTS[request_])
        require_problem(refused, 404, "projection-not-found")


@pytest.mark.parametrize("reason", ["", "   ", "x" * 1001, "a NUL \x00"])
async def test_a_reason_says_something(otto: AsyncClient, reason):
    require_problem(await otto.post(url("pauses"), json={"reason": reason}), 422, "invalid-request")


@pytest.mark.parametrize("position", ["1", "", "0123456789ab-", "0123456789ab--1", "../1"])
async def test_a_position_is_a_token(otto: AsyncClient, position):
    content = {"position": position, "reason": "it was sent twice"}
    require_problem(await otto.post(url("skips"), json=content), 422, "invalid-request")


@pytest.fixture
async def parked(ann: AsyncClient, eve: AsyncClient, admin, engine, await_projections) -> None:
    """One event of each of two tenants, which the list could not apply, and one that waits behind ours."""
    await create_entry(ann)
    await create_entry(eve)
    await await_projections(VIEW)
    await admin.execute(PARK, (VIEW, 101, "acme", "acme/entry-1", "ValueError"))
    await admin.execute(PARK, (VIEW, 103, "acme", "acme/entry-1", None))
    await admin.execute(PARK, (VIEW, 102, "umbra", "umbra/entry-2", "KeyError"))


async def test_answers_say_how_many_events_of_the_tenant_they_lack(ann: AsyncClient, eve: AsyncClient, parked):
    assert (await ann.get(ENTRIES)).headers["X-Parked"] == "2"
    assert (await eve.get(ENTRIES)).headers["X-Parked"] == "1"
    assert "X-Parked" not in (await ann.get("/api/v1/documents")).headers


async def test_a_search_says_how_many_events_its_legs_lack(ann: AsyncClient, eve: AsyncClient, admin, parked):
    await admin.execute(PARK, ("search_text", 101, "acme", "acme/entry-1", "ValueError"))
    await admin.execute(PARK, ("search_vector", 101, "acme", "acme/entry-1", "ValueError"))
    found = await ann.get("/api/v1/search", params={"q": "clay", "mode": "hybrid"})
    assert (found.status_code, found.headers["X-Parked"]) == (200, "2")
    assert "X-Parked" not in (await eve.get("/api/v1/search", params={"q": "clay"})).headers


async def test_an_operator_sees_what_is_parked_of_the_own_tenant(otto: AsyncClient, admin, parked):
    events = (await otto.get(url("parked"))).json()
    assert [(each["position"].rpartition("-")[2], each["error"]) for each in events] == [
        ("101", "ValueError"),
        ("103", None),
    ]
    assert "stack" not in events[0]
    later = (await otto.get(url("parked"), params={"after": 101, "limit": 1})).json()
    assert [each["position"].rpartition("-")[2] for each in later] == ["103"]


async def test_lanes_say_how_much_of_all_tenants_is_parked_and_why_they_stand(otto: AsyncClient, admin, parked):
    await admin.execute("update varve.generations set pause_reason = 'its disk is full' where projection = %s", (VIEW,))
    lanes = {lane["projection"]: lane for lane in (await otto.get("/api/v1/admin/projections")).json()}
    assert (lanes[VIEW]["parked"], lanes[VIEW]["paused"]) == (3, "its disk is full")
    assert (lanes["document_status"]["parked"], lanes["document_status"]["paused"]) == (0, None)


async def test_a_rebuild_says_how_fast_it_is_and_how_long_it_will_take(
    otto: AsyncClient, ann: AsyncClient, admin, engine, await_projections
):
    for _ in range(4):
        await create_entry(ann)
    assert (await otto.post(url("rebuilds"), json={"purpose": "hold"})).status_code == 202
    await await_projections(VIEW, "operator_requests")
    await admin.execute(
        "update varve.generations set created_at = clock_timestamp() - interval '10 s', paused_at = null "
        "where projection = %s and status = 'building'",
        (VIEW,),
    )
    await until_filled(otto)
    (rebuild,) = (await otto.get(url("rebuilds"))).json()
    assert (rebuild["generation"], rebuild["purpose"], rebuild["is_paused"]) == (2, "hold", False)
    assert (rebuild["events_left"], rebuild["seconds_left"]) == (0, 0)
    assert 0.2 < rebuild["rate"] <= 0.5


async def until_filled(otto: AsyncClient) -> None:
    async with asyncio.timeout(20):
        while True:
            found = (await otto.get(url("rebuilds"))).json()
            if found and found[0]["events_left"] == 0:
                return
            await asyncio.sleep(0.05)


async def test_what_a_comparison_found_is_listed_without_anybodys_keys(otto: AsyncClient, admin):
    await admin.execute(
        "insert into varve.verifications"
        " (projection, generation, position, is_repaired, differing, by_table, some_keys)"
        " values (%s, 2, 7, false, 1, %s, %s)",
        (VIEW, '{"entries": 1}', '{"entries": [{"tenant": "umbra"}]}'),
    )
    (found,) = (await otto.get(url("verifications"))).json()
    assert (found["generation"], found["differing"], found["by_table"]) == (2, 1, {"entries": 1})
    assert "umbra" not in str(found)
    assert (await otto.get(url("verifications", "search_text"))).json() == []
