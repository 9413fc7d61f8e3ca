"""On every route, the id of something of another tenant is answered as an id that nothing has: to the last byte."""

from collections.abc import Mapping
from typing import Any

import pytest
from httpx import AsyncClient

from tests.builders.actors import PEOPLE
from tests.builders.entries import NOBODYS_ID
from tests.builders.requests import ENTRIES, create_entry
from tests.isolation.answers import told_about

DOCUMENTS, COMMANDS = "/api/v1/documents", "/api/v1/commands"
WITHOUT_TENANT = ("/api/v1/admin/projections/", "/api/v1/admin/as-of/", "/api/v1/admin/requests/")
"""Projections are the whole installation's, and their operators'; what is parked of a tenant has no id.

Requests are a tenant's operators': `tests.api.test_projections` asks for one as another tenant's operator."""
LINK = {"target_id": "0190a000-0000-7000-8000-00000000beef", "relation": "explains"}
CONTENTS: dict[tuple[str, str], dict[str, Any]] = {
    ("patch", f"{ENTRIES}/{{entry_id}}"): {"json": {"name": "stolen"}},
    ("post", f"{ENTRIES}/{{entry_id}}/links"): {"json": LINK},
    ("delete", f"{ENTRIES}/{{entry_id}}/links"): {"params": LINK},
}
"""What a request of a route must have, besides the id, to be one that would be answered."""
PRECONDITIONS = [{}, {"If-Match": '"1"'}, {"If-Match": 'W/"1"'}]
QUESTIONS = ["", "?limit=1", "?version=1", "?at=2026-01-01T00:00:00Z", "?cursor=WyJ2ZXJzaW9uIiwxXQ", "?wait=processed"]


@pytest.fixture
async def of_eve(eve: AsyncClient, engine, document_work, await_projections) -> list[tuple[str, str]]:
    """Everything that has an id, each with the URL where its owner finds it."""
    entry = await create_entry(eve)
    private = await create_entry(eve, visibility="private")
    removed = await create_entry(eve)
    command = (await eve.delete(removed.url)).headers["X-Command-Id"]
    file = {"file": ("layers.md", b"# Layers\n\nA varve is a yearly layer.\n")}
    uploaded = await eve.post(DOCUMENTS, files=file)
    document = uploaded.headers["Location"]
    seen = {"X-Min-Position": uploaded.headers["X-Position"]}
    done = await eve.get(document, params={"wait": "processed"}, headers=seen)
    assert done.json()["status"] == "processed", done.text
    await await_projections()
    return [
        *((each.id, each.url) for each in (entry, private, removed)),
        (document.rpartition("/")[2], document),
        (command, f"{COMMANDS}/{command}"),
    ]


async def routes_with_an_id(client: AsyncClient) -> list[tuple[str, str]]:
    """Methods and path templates from the OpenAPI document, each kind of aggregate on its own."""
    paths = (await client.get("/openapi.json")).json()["paths"]
    return [
        (method, path.replace("{kind}", kind))
        for path, methods in paths.items()
        if path.startswith("/api/v1") and "{" in path and not path.startswith(WITHOUT_TENANT)
        for method in methods
        for kind in (("entries", "documents") if "{kind}" in path else ("",))
    ]


async def both_told(
    client: AsyncClient, method: str, template: str, foreign: str, headers: Mapping[str, str] | None = None
) -> list[object]:
    """What a request for `foreign`, and then the same for an id that nothing has, are told."""
    told = []
    for asked_id in (foreign, str(NOBODYS_ID)):
        # A key stands for one request, and these are two.
        sent = {
            name: f"{value}:{asked_id}" if name == "Idempotency-Key" else value
            for name, value in (headers or {}).items()
        }
        contents = CONTENTS.get((method, template), {})
        answer = await client.request(method, path_of(template, asked_id), headers=sent, **contents)
        told.append(told_about(asked_id, answer))
    return told


def path_of(template: str, with_id: str) -> str:
    before, _, rest = template.partition("{")
    assert rest.count("{") == 0, f"{template}: say which of its parts is the id"
    return before + with_id + rest.partition("}")[2]


@pytest.mark.parametrize("stranger", ["ann", "ada"])
async def test_every_route_answers_them_alike(client_of, of_eve, stranger):
    client = client_of(PEOPLE[stranger])
    routes = await routes_with_an_id(client)
    assert len(routes) >= 15
    for method, template in routes:
        things = [thing_id for thing_id, url in of_eve if template.startswith(url.rpartition("/")[0])]
        assert things, template
        for foreign in things:
            for headers in PRECONDITIONS:
                told = await both_told(client, method, template, foreign, headers)
                assert told[0] == told[1], (method, template, headers)
                assert told[0][0] == 404, (method, template, headers, told[0])


@pytest.mark.parametrize("stranger", ["ann", "ada"])
async def test_every_question_about_them_is_answered_alike(client_of, of_eve, stranger):
    client = client_of(PEOPLE[stranger])
    for method, template in await routes_with_an_id(client):
        if method != "get":
            continue
        for foreign in [thing_id for thing_id, url in of_eve if template.startswith(url.rpartition("/")[0])]:
            for question in QUESTIONS:
                told = await both_told(client, method, f"{template}{question}", foreign)
                assert told[0] == told[1], (template, question)
                assert told[0][0] in {400, 404, 422}, (template, question)  # it may be no question of this route


async def test_a_repeated_command_about_them_is_answered_alike(ann: AsyncClient, of_eve):
    (entry, _), *_ = of_eve
    for method, template in await routes_with_an_id(ann):
        if method == "get" or not template.startswith(ENTRIES):
            continue
        for _ in range(2):
            told = await both_told(ann, method, template, entry, {"Idempotency-Key": f"{method}:{template}"})
            assert told[0] == told[1], (method, template)


@pytest.mark.parametrize("stranger", ["ann", "ada"])
async def test_a_link_to_them_is_answered_alike(client_of, of_eve, stranger):
    client = client_of(PEOPLE[stranger])
    own = await create_entry(client)
    for foreign, _ in of_eve:
        answers = [
            told_about(
                target, await client.post(f"{own.url}/links", json={"target_id": target, "relation": "explains"})
            )
            for target in (foreign, str(NOBODYS_ID))
        ]
        assert answers[0] == answers[1]
        assert answers[0][0] == 404


async def test_they_are_there(eve: AsyncClient, of_eve):
    """Or else the rest would hold for want of anything to find."""
    for _, url in of_eve:
        assert (await eve.get(url)).status_code == 200, url
