"""X-Min-Position: read your writes."""

import pytest
from httpx import AsyncClient

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


@pytest.mark.parametrize("token", ["", "1", "nonsense", "0123abcd-", "0123abcd-1-2", "-1", "0123abcd-" + "9" * 19])
async def test_what_is_no_position_is_refused(ann: AsyncClient, token):
    require_problem(await ann.get(ENTRIES, headers={"X-Min-Position": token}), 400, "invalid-position")


async def test_a_position_that_is_not_written_yet_is_refused(ann: AsyncClient):
    entry = await create_entry(ann)
    epoch = entry.position.partition("-")[0]
    refused = await ann.get(ENTRIES, headers={"X-Min-Position": f"{epoch}-2"})
    require_problem(refused, 400, "position-in-the-future")


async def test_a_position_of_another_history_is_gone(ann: AsyncClient):
    await create_entry(ann)
    require_problem(await ann.get(ENTRIES, headers={"X-Min-Position": "00000000-1"}), 410, "foreign-epoch")


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
