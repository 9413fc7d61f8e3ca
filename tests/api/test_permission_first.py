"""A request's permission is looked at before its body: nothing is received for those who may not send it."""

import asyncio
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.routing import APIRouter, iter_route_contexts
from httpx import AsyncClient

from api.routing import ApiRoute, NoCommandError, require_commands
from commands.registry import build_handlers
from tests.api.problem import require_problem
from tests.builders.actors import RITA_READS
from tests.builders.entries import NOBODYS_ID
from tests.builders.operated import NothingOperated
from tests.builders.requests import ENTRIES
from varve.bootstrap import token_issuer

AUDIT = "select command_type, aggregate_id, status, data::text, error->>'code' from varve.commands"


def changing_routes(app: FastAPI) -> Iterator[tuple[str, str, ApiRoute]]:
    """Yield method, path and route of each operation that sends a command."""
    for context in iter_route_contexts(app.routes):
        route = context.original_route
        if isinstance(route, ApiRoute) and route.command is not None:
            path = (context.path or "").replace("{name}", "knowledge_entry_list")
            for name in ("entry_id", "document_id", "as_of_id"):
                path = path.replace(f"{{{name}}}", str(NOBODYS_ID))
            assert "{" not in path
            yield from ((method, path, route) for method in route.methods)


class Unread:
    """A request whose body must not be asked for before the answer is there; it never ends."""

    def __init__(self, method: str, path: str, token: str) -> None:
        headers = {"authorization": f"Bearer {token}", "content-type": "application/json", "content-length": "200000"}
        self.scope: dict[str, Any] = {
            "type": "http",
            "http_version": "1.1",
            "method": method,
            "path": path,
            "raw_path": path.encode(),
            "root_path": "",
            "scheme": "http",
            "query_string": b"",
            "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
        }
        self.answer = b""
        self.status = 0
        self.receives_before_answer = 0

    async def receive(self) -> dict[str, Any]:
        if not self.answer:
            self.receives_before_answer += 1
        return {"type": "http.request", "body": b"x" * 200_000, "more_body": False}

    async def send(self, message: dict[str, Any]) -> None:
        self.status = message.get("status", self.status)
        self.answer += message.get("body", b"")


@pytest.fixture
def token(settings) -> str:
    """The token of one who may only read."""
    return token_issuer(settings).issue(RITA_READS, timedelta(hours=1))


async def test_no_byte_of_a_readers_body_is_received(api: FastAPI, token, subtests):
    routes = list(changing_routes(api))
    assert len(routes) > 15
    for method, path, _ in routes:
        with subtests.test(f"{method} {path}"):
            sent = Unread(method, path, token)
            await api(sent.scope, sent.receive, sent.send)
            assert (sent.status, sent.receives_before_answer) == (403, 0)
            assert b"permission-denied" in sent.answer


async def test_what_is_refused_unread_leaves_an_audit_row_without_it(rita: AsyncClient, admin):
    body = {"name": "no secret of the audit"}
    require_problem(await rita.patch(f"{ENTRIES}/{NOBODYS_ID}", json=body), 403, "permission-denied")
    rows = await (await admin.execute(AUDIT)).fetchall()
    assert rows == [("UpdateKnowledgeEntry", str(NOBODYS_ID), "refused", "{}", "PermissionDenied")]


@pytest.mark.parametrize("name", ["%00", "x" * 5_000, "%ff%fe", "%F0%9F%98%80" * 100])
async def test_a_name_that_can_be_none_is_not_in_the_audit(rita: AsyncClient, admin, name):
    require_problem(await rita.patch(f"{ENTRIES}/{name}", json={}), 403, "permission-denied")
    ((_, aggregate_id, *_),) = await (await admin.execute(AUDIT)).fetchall()
    assert aggregate_id is None or len(aggregate_id) <= 100


async def test_a_key_remembers_no_refusal_of_an_unread_command(rita: AsyncClient, ann: AsyncClient):
    key = {"Idempotency-Key": "k"}
    require_problem(await rita.post(ENTRIES, json={"name": "a"}, headers=key), 403, "permission-denied")
    assert (await ann.post(ENTRIES, json={"name": "a"}, headers=key)).status_code == 201


def test_each_route_names_the_command_that_its_function_sends(api: FastAPI):
    for method, path, route in changing_routes(api):
        assert route.command is not None
        assert route.command in build_handlers([], [], NothingOperated())
        assert route.command.__name__ in route.endpoint.__code__.co_names, f"{method} {path}"


def test_a_route_that_names_no_command_is_refused_when_the_application_is_made():
    router = APIRouter(route_class=ApiRoute)
    router.add_api_route("/things", lambda: None, methods=["POST"])
    with pytest.raises(NoCommandError, match="/things"):
        require_commands(router.routes)


async def test_a_client_that_asks_first_is_told_without_being_asked_for_the_body(api: FastAPI, token):
    sent = Unread("POST", ENTRIES, token)
    sent.scope["headers"].append((b"expect", b"100-continue"))
    async with asyncio.timeout(5):
        await api(sent.scope, sent.receive, sent.send)
    assert (sent.status, sent.receives_before_answer) == (403, 0)
