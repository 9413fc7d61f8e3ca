"""What operators ask of projections, and what readers are told of events that are missing."""

import asyncio
from uuid import uuid4

import pytest
from httpx import AsyncClient

from domain.shared.access import Role
from tests.api.problem import require_problem
from tests.builders.actors import actor
from tests.builders.requests import ENTRIES, create_entry
from tests.fixtures.engine import running_engine

VIEW = "knowledge_entry_list"
FOREIGN = "0123456789ab-1"
PARK = """
insert into varve.parked (projection, generation, position, tenant, partition, error, stack, attempts)
values (%s, 1, %s, %s, %s, %s, 'a stack that only operators at a prompt see', 3)
"""
ADD = """
insert into varve.generations (projection, generation, status, lanes, definition, tables, is_indexed, purpose, up_to)
select projection, 2, 'building', lanes, definition, tables, false, %(purpose)s,
       case when %(purpose)s = 'verify' then 0 end
from varve.generations where projection = %(projection)s
"""
STATES = {
    "idle": (),
    "rebuilding": ((ADD, {"projection": VIEW, "purpose": "swap"}),),
    "held": ((ADD, {"projection": VIEW, "purpose": "hold"}),),
    "verifying": ((ADD, {"projection": VIEW, "purpose": "verify"}),),
    "paused": (
        ("update varve.generations set paused_at = now(), pause_reason = 'an old one' where projection = %s", (VIEW,)),
    ),
    "returnable": (
        ("update varve.generations set status = 'retired' where projection = %s", (VIEW,)),
        (ADD, {"projection": VIEW, "purpose": "swap"}),
        ("update varve.generations set status = 'live' where projection = %s and generation = 2", (VIEW,)),
    ),
    "parked": ((PARK, (VIEW, 1, "acme", "acme/entry-1", "ValueError")),),
    "skipped": (
        (PARK, (VIEW, 1, "acme", "acme/entry-1", "ValueError")),
        ("insert into varve.skipped (projection, position, skipped_by) values (%s, 1, 1)", (VIEW,)),
    ),
}
"""How a projection stands, as SQL that makes it so: nothing of it runs here."""
HERE, BEYOND = "here", "beyond"
REQUESTS = {
    "rebuilds": ({"purpose": "hold", "tenant": None}, "idle"),
    "swaps": ({}, "held"),
    "cancellations": ({}, "rebuilding"),
    "rollbacks": ({}, "returnable"),
    "pauses": ({"reason": "its disk is full", "generation": 1}, "idle"),
    "resumptions": ({"generation": None}, "paused"),
    "retries": ({"position": HERE}, "parked"),
    "skips": ({"position": HERE, "reason": "it was sent twice"}, "parked"),
}
"""Each request, and a state in which there is something to do for it."""
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
NOTHING_TO_DO = [
    ("rebuilds", "rebuilding", {}, "rebuild-is-running", "generation 2 is being filled, to be read"),
    ("rebuilds", "held", {"purpose": "verify"}, "rebuild-is-running", "to wait until it is swapped in"),
    ("rebuilds", "verifying", {}, "rebuild-is-running", "to be compared with the live one"),
    ("rebuilds", "idle", {"purpose": "repair", "tenant": "nobody"}, "tenant-has-no-events", "nobody"),
    ("swaps", "idle", {}, "no-rebuild-running", "eneration 1 is live since 20"),
    ("swaps", "rebuilding", {}, "rebuild-is-not-held", "eneration 2 is being filled"),
    ("swaps", "verifying", {}, "rebuild-is-not-held", "eneration 2 is being filled"),
    ("cancellations", "idle", {}, "no-rebuild-running", "nothing is paused"),
    ("cancellations", "returnable", {}, "no-rebuild-running", "eneration 1 is kept for a rollback"),
    ("rollbacks", "idle", {}, "nothing-to-roll-back-to", "eneration 1 is live"),
    ("rollbacks", "rebuilding", {}, "rebuild-is-running", "eneration 2 is being filled"),
    ("pauses", "paused", {"reason": "once more"}, "already-paused", "an old one"),
    ("pauses", "paused", {"reason": "once more", "generation": 1}, "already-paused", "an old one"),
    ("pauses", "idle", {"reason": "which one?", "generation": 9}, "generation-not-there", "eneration 1 is live"),
    ("pauses", "returnable", {"reason": "retired", "generation": 1}, "generation-not-there", "eneration 2 is live"),
    ("resumptions", "idle", {}, "nothing-is-paused", "eneration 1 is live"),
    ("resumptions", "paused", {"generation": 2}, "generation-not-there", "an old one"),
    ("retries", "idle", {}, "nothing-is-parked", "nothing is parked"),
    ("retries", "idle", {"position": HERE}, "event-is-not-parked", "nothing is parked"),
    ("retries", "parked", {"position": BEYOND}, "event-is-not-parked", "The log ends at"),
    ("retries", "parked", {"position": FOREIGN}, "event-is-not-parked", "none of this log's"),
    ("skips", "idle", {"position": HERE, "reason": "x"}, "event-is-not-parked", "nothing is parked"),
    ("skips", "parked", {"position": BEYOND, "reason": "x"}, "event-is-not-parked", "The log ends at"),
    ("skips", "parked", {"position": FOREIGN, "reason": "x"}, "event-is-not-parked", "none of this log's"),
    ("skips", "skipped", {"position": HERE, "reason": "x"}, "event-is-skipped-already", "skipped"),
]


def url(request: str, name: str = VIEW) -> str:
    return f"/api/v1/admin/projections/{name}/{request}"


@pytest.fixture
async def standing(ann: AsyncClient, admin):
    """Make a projection stand as one of `STATES` says, in a log of one event."""

    async def stand(state: str) -> None:
        await create_entry(ann)
        for statement, parameters in STATES[state]:
            await admin.execute(statement, parameters)

    return stand


async def placed(admin, body: dict) -> dict:
    """Return a request's body with the tokens of positions in the log."""
    (epoch,) = await (await admin.execute("select epoch from varve.log_epochs order by number desc limit 1")).fetchone()
    tokens = {HERE: f"{epoch}-1", BEYOND: f"{epoch}-999"}
    return {name: tokens.get(value, value) for name, value in body.items()}


async def requests_in_log(admin) -> list[tuple[str, dict]]:
    cursor = await admin.execute("select topic, data from varve.events_json where topic like 'operations.%'")
    return await cursor.fetchall()


@pytest.mark.parametrize("request_", REQUESTS)
async def test_what_an_operator_asks_for_is_a_fact_of_the_log(otto: AsyncClient, admin, standing, request_):
    body, state = REQUESTS[request_]
    await standing(state)
    body = await placed(admin, body)
    answer = await otto.post(url(request_), json=body)
    assert answer.status_code == 202, answer.text
    ((topic, data),) = await requests_in_log(admin)
    assert topic == f"operations.{EVENTS[request_]}"
    assert data == {"projection": VIEW, **body}
    cursor = await admin.execute("select status from varve.commands where user_id = 'otto'")
    assert await cursor.fetchall() == [("accepted",)]


@pytest.mark.parametrize(("request_", "state", "body", "code", "there"), NOTHING_TO_DO)
async def test_a_request_about_nothing_is_refused_with_what_there_is(
    otto: AsyncClient, admin, standing, request_, state, body, code, there
):
    await standing(state)
    refused = await otto.post(url(request_), json=await placed(admin, body))
    require_problem(refused, 409, code)
    assert there in refused.json()["detail"]
    assert await requests_in_log(admin) == []
    cursor = await admin.execute("select status, error ->> 'message' from varve.commands where user_id = 'otto'")
    assert await cursor.fetchall() == [("refused", refused.json()["detail"])]


async def test_a_request_that_is_not_carried_out_yet_counts_for_the_next_one(otto: AsyncClient, admin, standing):
    await standing("idle")
    require_problem(await otto.post(url("swaps")), 409, "no-rebuild-running")
    assert (await otto.post(url("rebuilds"), json={"purpose": "hold"})).status_code == 202
    require_problem(await otto.post(url("rebuilds")), 409, "rebuild-is-running")
    assert (await otto.post(url("pauses"), json={"reason": "wait", "generation": 2})).status_code == 202
    assert (await otto.post(url("swaps"))).status_code == 202
    require_problem(await otto.post(url("swaps")), 409, "rebuild-is-not-held")
    assert (await otto.post(url("resumptions"), json={"generation": 2})).status_code == 202
    assert (await otto.post(url("cancellations"))).status_code == 202
    require_problem(await otto.post(url("cancellations")), 409, "no-rebuild-running")


async def test_a_request_of_another_tenant_counts_too_and_is_not_shown(otto: AsyncClient, client_of, standing):
    await standing("idle")
    asked = await client_of(actor("umbra", "olga", Role.OPERATOR)).post(url("rebuilds"))
    assert asked.status_code == 202
    require_problem(await otto.post(url("rebuilds")), 409, "rebuild-is-running")
    require_problem(await otto.get(asked.headers["Location"]), 404, "request-not-found")


@pytest.mark.parametrize("request_", REQUESTS)
async def test_of_two_requests_at_the_same_moment_one_is_carried_out(otto: AsyncClient, admin, standing, request_):
    body, state = REQUESTS[request_]
    await standing(state)
    body = await placed(admin, body)
    answers = await asyncio.gather(*(otto.post(url(request_), json=body) for _ in range(6)))
    assert len(await requests_in_log(admin)) == [each.status_code for each in answers].count(202)
    if request_ != "retries":  # twice is as good as once, and what is parked still is
        assert sorted(each.status_code for each in answers) == [202, 409, 409, 409, 409, 409]


async def test_a_request_that_is_sent_again_with_its_key_is_not_about_nothing(otto: AsyncClient, admin, standing):
    await standing("rebuilding")
    headers = {"Idempotency-Key": "give-it-up"}
    first, again = [await otto.post(url("cancellations"), headers=headers) for _ in range(2)]
    assert (first.status_code, again.status_code) == (202, 202)
    assert again.json() == first.json()


async def test_what_became_of_a_request_is_where_its_answer_says(otto: AsyncClient, eve, admin, engine, ann):
    await create_entry(ann)
    asked = await otto.post(url("rebuilds"), json={"purpose": "hold"})
    outcome = await until_carried_out(otto, asked.headers["Location"])
    assert (outcome["status"], outcome["generation"], outcome["code"]) == ("done", 2, None)
    assert outcome["sentence"] == f"{VIEW} is being rebuilt as generation 2."
    require_problem(await eve.get(asked.headers["Location"]), 403, "permission-denied")
    require_problem(await otto.get(f"/api/v1/admin/requests/{uuid4()}"), 404, "request-not-found")


async def test_a_rebuild_of_what_is_paused_says_that_it_is_not(otto: AsyncClient, engine, ann):
    await create_entry(ann)
    asked = await otto.post(url("pauses"), json={"reason": "a wrong fold"})
    await until_carried_out(otto, asked.headers["Location"])
    asked = await otto.post(url("rebuilds"))
    outcome = await until_carried_out(otto, asked.headers["Location"])
    assert outcome["sentence"] == f"{VIEW} is being rebuilt as generation 2, and is not paused as generation 1 is."


async def test_a_request_waits_as_long_as_no_worker_runs(otto: AsyncClient, standing):
    await standing("idle")
    asked = await otto.post(url("rebuilds"))
    outcome = (await otto.get(asked.headers["Location"])).json()
    assert (outcome["status"], outcome["sentence"]) == ("waiting", "No worker has carried it out yet.")


async def test_a_request_whose_state_has_changed_meanwhile_is_refused_in_its_outcome(
    otto: AsyncClient, admin, standing, settings
):
    await standing("rebuilding")
    asked = await otto.post(url("cancellations"))
    await admin.execute("delete from varve.generations where projection = %s and generation = 2", (VIEW,))
    async with running_engine(settings):
        outcome = await until_carried_out(otto, asked.headers["Location"])
    assert (outcome["status"], outcome["code"]) == ("refused", "NoRebuildRunning")
    assert outcome["sentence"].startswith(f"No rebuild of {VIEW} is running. Generation 1 is live since")


async def until_carried_out(otto: AsyncClient, location: str) -> dict:
    async with asyncio.timeout(20):
        while True:
            outcome = (await otto.get(location)).json()
            if outcome["status"] != "waiting":
                return outcome
            await asyncio.sleep(0.02)


@pytest.mark.parametrize(
    ("request_", "meant"),
    [
        ("rebuilds", {"purpose": "swap", "tenant": None}),
        ("resumptions", {"generation": None}),
    ],
)
async def test_a_request_without_a_body_is_the_usual_one(otto: AsyncClient, admin, standing, request_, meant):
    await standing(REQUESTS[request_][1])
    assert (await otto.post(url(request_))).status_code == 202
    ((_, data),) = await requests_in_log(admin)
    assert data == {"projection": VIEW, **meant}


@pytest.mark.parametrize("plan", [{"purpose": "repair"}, {"tenant": "acme"}, {"purpose": "as_of"}])
async def test_a_rebuild_without_sense_is_refused(otto: AsyncClient, plan):
    require_problem(await otto.post(url("rebuilds"), json=plan), 422, "invalid-request")


def body_of(request: str) -> dict:
    return {name: FOREIGN if value == HERE else value for name, value in REQUESTS[request][0].items()}


@pytest.mark.parametrize("request_", REQUESTS)
async def test_nobody_else_may_ask(ada: AsyncClient, ann: AsyncClient, request_):
    for person in (ada, ann):
        refused = await person.post(url(request_), json=body_of(request_))
        require_problem(refused, 403, "permission-denied")


@pytest.mark.parametrize("request_", REQUESTS)
async def test_what_is_no_read_model_is_not_found(otto: AsyncClient, request_):
    reactors = () if request_ in {"skips", "retries"} else ("operator_requests",)  # they have events to skip, too
    for name in ("nothing", *reactors):
        refused = await otto.post(url(request_, name), json=body_of(request_))
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
