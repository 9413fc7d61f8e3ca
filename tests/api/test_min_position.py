"""X-Min-Position: read your writes."""

import asyncio

import psycopg
import pytest
from httpx import AsyncClient

from eventstore.epochs import mark_restored
from eventstore.position import LogPosition
from tests.api.problem import require_problem
from tests.builders.requests import ENTRIES, create_entry
from tests.fixtures.engine import running_engine


@pytest.fixture
def setting_overrides():
    return {"wait_seconds": 0.3}


@pytest.mark.usefixtures("engine")
async def test_what_was_written_can_be_read_at_once(ann: AsyncClient):
    for number in range(20):
        entry = await create_entry(ann, name=f"entry {number}")
        read = await ann.get(entry.url, headers=entry.seen)
        assert read.json()["name"] == f"entry {number}"


@pytest.mark.usefixtures("engine")
async def test_every_answer_says_the_position_that_it_reflects(ann: AsyncClient):
    entry = await create_entry(ann)
    for url in (ENTRIES, entry.url, f"{entry.url}/history"):
        answer = await ann.get(url, headers=entry.seen)
        assert answer.headers["X-Position"] == entry.position


@pytest.mark.parametrize(
    "token", ["", "1", "nonsense", "0123456789ab-", "0123456789ab-1-2", "-1", "0123456789ab-" + "9" * 19]
)
async def test_what_is_no_position_is_refused(ann: AsyncClient, token):
    require_problem(await ann.get(ENTRIES, headers={"X-Min-Position": token}), 400, "invalid-position")


async def test_a_position_that_is_not_written_yet_is_refused(ann: AsyncClient):
    entry = await create_entry(ann)
    epoch = entry.position.partition("-")[0]
    refused = await ann.get(ENTRIES, headers={"X-Min-Position": f"{epoch}-2"})
    require_problem(refused, 400, "position-in-the-future")


async def test_a_position_that_this_log_never_handed_out_is_refused(ann: AsyncClient):
    await create_entry(ann)
    require_problem(await ann.get(ENTRIES, headers={"X-Min-Position": "000000000000-1"}), 400, "invalid-position")


async def restore(settings):
    async with await psycopg.AsyncConnection.connect(settings.role_url("varve_admin"), autocommit=True) as connection:
        return await mark_restored(connection)


@pytest.mark.usefixtures("engine")
async def test_a_position_before_a_fork_is_still_good_and_answered_in_the_new_history(settings, ann: AsyncClient):
    entry = await create_entry(ann)
    assert (await ann.get(entry.url, headers=entry.seen)).is_success
    begins = await restore(settings)
    await asyncio.sleep(settings.cache_age_ms / 1000)
    read = await ann.get(entry.url, headers=entry.seen)
    assert (read.status_code, read.headers["X-Position"]) == (200, str(begins))


@pytest.mark.usefixtures("engine")
async def test_a_position_past_a_fork_is_gone_and_the_fork_is_named(settings, admin, ann: AsyncClient):
    await create_entry(ann)
    lost = await create_entry(ann)
    begins = await restore(settings)
    await admin.execute("update varve.log_epochs set fork_position = 1 where epoch = %s", (begins.epoch,))
    gone = await ann.get(ENTRIES, headers=lost.seen)
    require_problem(gone, 410, "foreign-epoch")
    assert gone.json()["token"] == lost.position
    assert gone.json()["fork_position"] == str(LogPosition(begins.epoch, 1))


async def test_a_lost_position_is_gone_before_anyone_has_appended_to_the_promoted_server(admin, ann: AsyncClient):
    entry = await create_entry(ann)
    epoch = entry.position.partition("-")[0]
    await admin.execute("update varve.log_epochs set timeline = '0000FFFF'")
    gone = await ann.get(ENTRIES, headers={"X-Min-Position": str(LogPosition(epoch, 2))})
    require_problem(gone, 410, "foreign-epoch")


async def test_a_fork_ends_the_wait_for_what_it_takes_away(settings, admin, ann: AsyncClient):
    async with running_engine(settings):
        await create_entry(ann)
    lost = await create_entry(ann)

    async def fork():
        await asyncio.sleep(0.05)
        begins = await restore(settings)
        await admin.execute("update varve.log_epochs set fork_position = 1 where epoch = %s", (begins.epoch,))

    gone, _ = await asyncio.gather(ann.get(lost.url, headers=lost.seen), fork())
    require_problem(gone, 410, "foreign-epoch")


async def test_no_answer_holds_a_bare_position(ann: AsyncClient, otto: AsyncClient, settings):
    async with running_engine(settings):
        response = await ann.post(ENTRIES, json={"name": "Sediment"})
        url, position = response.headers["Location"], response.headers["X-Position"]
        await ann.get("/api/v1/activity", params={"user": "ann"}, headers={"X-Min-Position": position})
        history = (await ann.get(f"{url}/history")).json()
        activity = (await ann.get("/api/v1/activity", params={"user": "ann"})).json()
        lanes = (await otto.get("/api/v1/admin/projections")).json()
        command = (await ann.get(f"/api/v1/commands/{response.headers['X-Command-Id']}")).json()
    epoch = position.partition("-")[0]
    assert [item["position"] for item in [*history["items"], *activity["items"], command]] == [position] * 3
    assert {lane["position"].partition("-")[0] for lane in lanes} == {epoch}
    future = (await ann.get(ENTRIES, headers={"X-Min-Position": f"{epoch}-9"})).json()
    assert (future["wanted"], future["head"]) == (f"{epoch}-9", position)


async def test_the_wait_for_a_worker_that_does_not_run_ends(settings, ann: AsyncClient):
    async with running_engine(settings):
        entry = await create_entry(ann)
        assert (await ann.get(entry.url, headers=entry.seen)).is_success
    unseen = await create_entry(ann)
    require_problem(await ann.get(unseen.url, headers=unseen.seen), 504, "position-not-reached")


async def test_without_a_position_a_stopped_worker_holds_up_no_reads(settings, ann: AsyncClient):
    async with running_engine(settings):
        entry = await create_entry(ann)
        assert (await ann.get(entry.url, headers=entry.seen)).is_success
    await create_entry(ann)
    stale = await ann.get(ENTRIES)
    assert [item["entry_id"] for item in stale.json()["items"]] == [entry.id]
    assert stale.headers["X-Position"] == entry.position
