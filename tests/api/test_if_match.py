import asyncio

import pytest
from httpx import AsyncClient

from tests.api.problem import require_problem
from tests.builders.requests import create_entry


@pytest.mark.parametrize("tag", ['"1"', 'W/"1"', "*"])
async def test_the_version_that_was_seen_is_accepted(ann: AsyncClient, tag):
    entry = await create_entry(ann)
    assert (await ann.patch(entry.url, json={"name": "Varve"}, headers={"If-Match": tag})).status_code == 200


@pytest.mark.parametrize("tag", ['"0"', '"2"', '"999999999"'])
async def test_another_version_is_refused(ann: AsyncClient, tag):
    entry = await create_entry(ann)
    refused = await ann.patch(entry.url, json={"name": "Varve"}, headers={"If-Match": tag})
    require_problem(refused, 412, "version-mismatch")
    assert refused.json()["actual"] == 1


@pytest.mark.parametrize("tag", ["1", '"one"', '"1", "2"', '"-1"', '"99999999999999999999"', ""])
async def test_what_is_no_version_is_refused(ann: AsyncClient, tag):
    entry = await create_entry(ann)
    refused = await ann.patch(entry.url, json={"name": "Varve"}, headers={"If-Match": tag})
    require_problem(refused, 400, "invalid-if-match")


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [("DELETE", "", None), ("POST", "/restore", None), ("PATCH", "", {"name": "Varve"})],
)
async def test_every_change_can_name_a_version(ann: AsyncClient, method, path, body):
    entry = await create_entry(ann)
    if path == "/restore":
        await ann.delete(entry.url)
    refused = await ann.request(method, f"{entry.url}{path}", json=body, headers={"If-Match": '"7"'})
    require_problem(refused, 412, "version-mismatch")


async def test_of_many_that_saw_one_version_one_wins(ann: AsyncClient):
    entry = await create_entry(ann)
    answers = await asyncio.gather(
        *(ann.patch(entry.url, json={"name": f"n{n}"}, headers={"If-Match": '"1"'}) for n in range(8))
    )
    assert sorted(answer.status_code for answer in answers) == [200] + [412] * 7


async def test_changes_that_name_no_version_all_go_through(ann: AsyncClient):
    entry = await create_entry(ann)
    answers = await asyncio.gather(*(ann.patch(entry.url, json={"name": f"n{n}"}) for n in range(5)))
    assert sorted(answer.json()["version"] for answer in answers) == [2, 3, 4, 5, 6]
