"""Another user's private entry, and another tenant's entry, answer as an id that nothing has."""

import pytest
from httpx import AsyncClient

from tests.builders.actors import PEOPLE
from tests.builders.entries import NOBODYS_ID, TARGET_ID
from tests.builders.requests import ENTRIES, create_entry

pytestmark = pytest.mark.usefixtures("engine")

ROUTES = [
    ("GET", "", None),
    ("GET", "/history", None),
    ("GET", "/state", None),
    ("GET", "/state?version=1", None),
    ("PATCH", "", {"name": "mine now"}),
    ("PATCH", "", {}),
    ("DELETE", "", None),
    ("POST", "/restore", None),
    ("POST", "/links", {"target_id": str(TARGET_ID), "relation": "is"}),
    ("DELETE", f"/links?target_id={NOBODYS_ID}&relation=is", None),
]


async def answer_of(client, method, entry_id, path, body, headers):
    response = await client.request(method, f"{ENTRIES}/{entry_id}{path}", json=body, headers=headers)
    return response.status_code, response.text.replace(entry_id, "(id)"), response.headers.get("ETag")


@pytest.mark.parametrize("stranger", ["ben", "eve"])
@pytest.mark.parametrize("if_match", [{}, {"If-Match": '"1"'}, {"If-Match": '"3"'}], ids=["", "seen", "other"])
async def test_a_hidden_entry_answers_as_none(client_of, ann: AsyncClient, await_projections, stranger, if_match):
    entry = await create_entry(ann, visibility="private")
    await await_projections()
    client = client_of(PEOPLE[stranger])
    for method, path, body in ROUTES:
        hidden = await answer_of(client, method, entry.id, path, body, if_match)
        absent = await answer_of(client, method, str(NOBODYS_ID), path, body, if_match)
        assert hidden == absent, (method, path)
        assert hidden[0] == 404, (method, path)


@pytest.mark.parametrize("stranger", ["ben", "eve"])
async def test_a_hidden_entry_is_no_target_of_a_link(client_of, ann: AsyncClient, stranger):
    entry = await create_entry(ann, visibility="private")
    client = client_of(PEOPLE[stranger])
    own = await create_entry(client)
    answers = [
        await client.post(f"{own.url}/links", json={"target_id": target, "relation": "is"})
        for target in (entry.id, str(NOBODYS_ID))
    ]
    assert answers[0].status_code == answers[1].status_code == 404
    assert answers[0].text.replace(entry.id, "(id)") == answers[1].text.replace(str(NOBODYS_ID), "(id)")


@pytest.mark.parametrize("stranger", ["ben", "rita", "eve"])
async def test_a_private_entry_is_in_nobody_elses_list(client_of, ann: AsyncClient, await_projections, stranger):
    await create_entry(ann, visibility="private", tags=["hidden"], category="hidden")
    await await_projections()
    client = client_of(PEOPLE[stranger])
    for filters in ({}, {"tag": "hidden"}, {"category": "hidden"}, {"text": "Sediment"}, {"sort": "name"}):
        assert (await client.get(ENTRIES, params=filters)).json()["items"] == []


@pytest.mark.parametrize("insider", ["ann", "ada"])
async def test_its_owner_and_the_administrator_see_it(client_of, ann: AsyncClient, insider):
    entry = await create_entry(ann, visibility="private")
    client = client_of(PEOPLE[insider])
    assert (await client.get(entry.url, headers=entry.seen)).status_code == 200
    assert len((await client.get(ENTRIES)).json()["items"]) == 1
    assert (await client.get(f"{entry.url}/history")).status_code == 200


async def test_an_administrator_sees_nothing_of_another_tenant(ann: AsyncClient, client_of, await_projections):
    entry = await create_entry(ann)
    await await_projections()
    uma = client_of(PEOPLE["uma"])
    assert (await uma.get(entry.url)).status_code == 404
    assert (await uma.get(ENTRIES)).json()["items"] == []


async def test_an_entry_made_private_disappears_for_others(ann: AsyncClient, ben: AsyncClient):
    entry = await create_entry(ann)
    hidden = await ann.patch(entry.url, json={"visibility": "private"})
    seen = {"X-Min-Position": hidden.headers["X-Position"]}
    assert (await ben.get(entry.url, headers=seen)).status_code == 404
    assert (await ben.get(f"{entry.url}/history")).status_code == 404


async def test_its_earlier_visible_state_is_hidden_with_it(ann: AsyncClient, ben: AsyncClient):
    entry = await create_entry(ann)
    await ann.patch(entry.url, json={"visibility": "private"})
    assert (await ben.get(f"{entry.url}/state", params={"version": 1})).status_code == 404
