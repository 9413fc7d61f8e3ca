"""If-Match: a change of what was seen, and of nothing else."""

import asyncio

import pytest
from httpx import AsyncClient

from tests.api.problem import require_problem
from tests.builders.entries import NOBODYS_ID
from tests.builders.requests import ENTRIES, create_entry


@pytest.mark.parametrize("tag", ['"1"', "*"])
async def test_the_version_that_was_seen_is_accepted(ann: AsyncClient, tag):
    entry = await create_entry(ann)
    assert (await ann.patch(entry.url, json={"name": "Varve"}, headers={"If-Match": tag})).status_code == 200


@pytest.mark.parametrize("tag", ['"0"', '"2"', '"999999999"'])
async def test_another_version_is_refused(ann: AsyncClient, tag):
    entry = await create_entry(ann)
    refused = await ann.patch(entry.url, json={"name": "Varve"}, headers={"If-Match": tag})
    require_problem(refused, 412, "version-mismatch")
    assert refused.json()["actual"] == 1


@pytest.mark.parametrize("tag", ['W/"1"', 'W/"0"', 'W/"2"'])
async def test_a_weak_tag_matches_no_version(ann: AsyncClient, tag):
    entry = await create_entry(ann)
    refused = await ann.patch(entry.url, json={"name": "Varve"}, headers={"If-Match": tag})
    require_problem(refused, 412, "version-mismatch")
    assert (await ann.get(f"{entry.url}/state")).json()["version"] == 1


async def test_a_weak_tag_refuses_a_change_that_would_change_nothing(ann: AsyncClient):
    entry = await create_entry(ann, name="Varve")
    refused = await ann.patch(entry.url, json={"name": "Varve"}, headers={"If-Match": 'W/"1"'})
    require_problem(refused, 412, "version-mismatch")


async def test_whatever_else_refuses_a_change_comes_before_the_version(ann: AsyncClient, rita: AsyncClient):
    entry = await create_entry(ann)
    for tag in ('W/"1"', '"7"'):
        seen = {"If-Match": tag}
        absent = await ann.patch(f"{ENTRIES}/{NOBODYS_ID}", json={"name": "Varve"}, headers=seen)
        require_problem(absent, 404, "entry-not-found")
        require_problem(await ann.post(f"{entry.url}/restore", headers=seen), 409, "entry-is-not-deleted")
        require_problem(await rita.delete(entry.url, headers=seen), 403, "permission-denied")


@pytest.mark.parametrize("tag", ["1", '"one"', '"1", "2"', 'W/"1", "1"', 'w/"1"', '"-1"', '"99999999999999999999"', ""])
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
