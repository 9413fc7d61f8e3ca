"""A stream that others move on between the load and the append: decided anew, then given up."""

import itertools

import pytest
from httpx import AsyncClient

from commands.knowledge.update_entry import UpdateKnowledgeEntry
from commands.message import CommandRequest
from domain.knowledge.entry import EntryChanges
from tests.api.problem import require_problem
from tests.builders.actors import BEN
from tests.builders.appends import CORRELATION_ID
from tests.builders.requests import create_entry
from varve.system import TimeOrderedIds

ATTEMPTS = 8
KEY = {"Idempotency-Key": "given-up"}


@pytest.fixture
def interfere(api, platform, monkeypatch):
    """Have Ben change an entry each time that the API has loaded it, as often as told; returns a count of the loads."""
    aggregates = api.state.services.commands._aggregates
    load, ids = aggregates.load, TimeOrderedIds()

    def begin(times):
        loads = itertools.count(1)

        async def load_and_be_overtaken(aggregate_type, tenant, aggregate_id):
            loaded = await load(aggregate_type, tenant, aggregate_id)
            begin.loads = next(loads)
            if begin.loads <= times:
                change = EntryChanges(description=f"Ben's {begin.loads}.")
                sent = CommandRequest(actor=BEN, command_id=ids.new(), correlation_id=CORRELATION_ID)
                await platform.commands.execute(UpdateKnowledgeEntry(entry_id=aggregate_id, changes=change), sent)
            return loaded

        monkeypatch.setattr(aggregates, "load", load_and_be_overtaken)

    return begin


async def test_a_change_that_is_overtaken_a_few_times_goes_through(ann: AsyncClient, interfere):
    entry = await create_entry(ann)
    interfere(times=ATTEMPTS - 1)
    changed = await ann.patch(entry.url, json={"name": "Ann's"})
    assert (changed.status_code, changed.json()["version"]) == (200, ATTEMPTS + 1)
    state = (await ann.get(f"{entry.url}/state")).json()["state"]
    assert (state["name"], state["description"]) == ("Ann's", "Ben's 7.")


async def test_a_change_that_is_overtaken_each_time_is_given_up(ann: AsyncClient, interfere):
    entry = await create_entry(ann)
    interfere(times=1000)
    refused = await ann.patch(entry.url, json={"name": "Ann's"})
    require_problem(refused, 409, "concurrent-change")
    assert refused.json()["stream"] == f"entry-{entry.id}"
    assert interfere.loads == ATTEMPTS
    state = (await ann.get(f"{entry.url}/state")).json()
    assert (state["version"], state["state"]["name"]) == (ATTEMPTS + 1, "Sediment")


async def test_what_was_given_up_is_audited_and_may_be_sent_again_with_its_key(ann: AsyncClient, interfere, admin):
    entry = await create_entry(ann)
    interfere(times=ATTEMPTS)
    require_problem(await ann.patch(entry.url, json={"name": "Ann's"}, headers=KEY), 409, "concurrent-change")
    rows = await admin.execute("select status, error ->> 'code' from varve.commands where user_id = 'ann' order by 1")
    assert await rows.fetchall() == [("accepted", None), ("refused", "ConcurrentChange")]
    again = await ann.patch(entry.url, json={"name": "Ann's"}, headers=KEY)
    assert (again.status_code, again.headers.get("Idempotency-Replayed")) == (200, None)


async def test_a_change_that_named_its_version_is_not_tried_again(ann: AsyncClient, interfere):
    entry = await create_entry(ann)
    interfere(times=1)
    refused = await ann.patch(entry.url, json={"name": "Ann's"}, headers={"If-Match": '"1"'})
    require_problem(refused, 412, "version-mismatch")
    assert (interfere.loads, refused.json()["expected"], refused.json()["actual"]) == (1, 1, 2)
