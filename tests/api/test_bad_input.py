"""Bad input is a problem document, stores nothing but the audit row, and leaves the server up."""

import httpx
import pytest
from httpx import AsyncClient

from tests.api.bad_input import BAD_REQUESTS, BadRequest
from tests.builders.actors import ANN
from tests.builders.requests import ENTRIES, create_entry
from tests.fixtures.http import api_process

pytestmark = pytest.mark.usefixtures("engine")

SIDES = """
select (select count(*) from varve.events), (select count(*) from varve.commands where status <> 'refused'),
       (select count(*) from varve.idempotency), (select count(*) from varve.claims)
"""


async def send(client: AsyncClient, bad: BadRequest) -> httpx.Response:
    return await client.request(bad.method, bad.path, content=bad.content, headers=bad.headers)


def wrong_answer(bad: BadRequest, answer: httpx.Response) -> str | None:
    """What is wrong with the answer to a bad request, if anything."""
    if answer.status_code not in bad.statuses:
        return f"{bad.name}: {answer.status_code} and not {bad.statuses}: {answer.text[:200]}"
    if answer.headers.get("Content-Type") != "application/problem+json":
        return f"{bad.name}: no problem document but {answer.headers.get('Content-Type')}"
    return None


async def test_each_is_a_problem_that_stores_nothing(ann: AsyncClient, admin, subtests):
    for bad in BAD_REQUESTS:
        before = await (await admin.execute(SIDES)).fetchone()
        with subtests.test(bad.name):
            assert wrong_answer(bad, await send(ann, bad)) is None
            assert await (await admin.execute(SIDES)).fetchone() == before


async def test_a_time_without_zone_is_refused_for_a_state_too(ann: AsyncClient):
    entry = await create_entry(ann)
    answer = await ann.get(f"{entry.url}/state", params={"at": "2026-01-01T00:00:00"})
    assert answer.status_code == 422, answer.text


async def test_a_real_server_answers_all_of_them_and_stays_up(settings, bearer_of, admin):
    async with api_process(settings) as url, AsyncClient(base_url=url, headers=bearer_of(ANN), timeout=30) as client:
        wrong = [wrong_answer(bad, await send(client, bad)) for bad in BAD_REQUESTS]
        assert [text for text in wrong if text] == []
        assert (await client.post(ENTRIES, json={"name": "still here"})).status_code == 201
        assert (await client.get("/health/ready")).status_code == 200
    assert (await (await admin.execute(SIDES)).fetchone())[0] == 1
