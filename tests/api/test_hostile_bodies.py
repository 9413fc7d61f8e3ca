"""The longest turn of the event loop while hostile bodies are received, for every route that takes one."""

import asyncio
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.routing import iter_route_contexts

from api.routing import LARGE_BYTES, ApiRoute
from domain.shared.access import Role
from tests.api.hostile_bodies import SHAPES, body
from tests.api.turns import TurnMeter, measured_turns
from tests.builders.actors import actor
from tests.builders.entries import NOBODYS_ID
from varve.bootstrap import token_issuer

SECONDS = 0.05
"""Of CPU that no turn may take; the best of three, since the processor's caches are not ours alone."""
MOST_ANSWERED = 16 * 1024
ALMIGHTY = actor("acme", "alma", Role.EDITOR, Role.OPERATOR)
_CHUNK = 64 * 1024


@dataclass
class Exchange:
    """One request, sent in pieces as a server passes them on, and what it was answered."""

    scope: dict[str, Any]
    content: bytes
    received: int = 0
    received_before_answer: int = 0
    status: int = 0
    answer: bytearray = field(default_factory=bytearray)

    async def receive(self) -> dict[str, Any]:
        await asyncio.sleep(0)
        piece = self.content[self.received : self.received + _CHUNK]
        self.received += len(piece)
        return {"type": "http.request", "body": piece, "more_body": self.received < len(self.content)}

    async def send(self, message: dict[str, Any]) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self.received_before_answer = self.received
        self.answer += message.get("body", b"")


def routes_with_bodies(app: FastAPI) -> Iterator[tuple[str, str]]:
    """Yield method and path of each operation that takes a body, with something in place of its parameters."""
    for context in iter_route_contexts(app.routes):
        route = context.original_route
        if isinstance(route, ApiRoute) and route.body_field is not None:
            path = context.path.replace("{entry_id}", str(NOBODYS_ID)).replace("{name}", "knowledge_entry_list")
            assert "{" not in path
            yield from ((method, path) for method in route.methods)


@pytest.fixture
def exchange(api: FastAPI, settings):
    """Send a request, without a client that has work of its own."""

    async def exchanged(method: str, path: str, content: bytes, who=ALMIGHTY, media_type="application/json"):
        token = token_issuer(settings).issue(who, timedelta(hours=1))
        headers = {"authorization": f"Bearer {token}", "content-type": media_type, "content-length": str(len(content))}
        scope = {
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
        sent = Exchange(scope, content)
        await asyncio.create_task(api(scope, sent.receive, sent.send))
        return sent

    return exchanged


def limit_of(path: str) -> int:
    return 10_000_000 if re.fullmatch(r".*/entries(:batch|/[^/]+)?", path) else LARGE_BYTES


@pytest.fixture
def meter() -> Iterator[TurnMeter]:
    with measured_turns() as measured:
        yield measured


async def longest_turn(meter: TurnMeter, exchange, *request: Any) -> tuple[float, Exchange]:
    """The longest turn of a request, the best of three, and its answer."""
    best, answered = 1.0, None
    for _ in range(3):
        meter.again()
        answered = await exchange(*request)
        best = min(best, meter.longest)
        if best < SECONDS:
            break
    assert answered is not None
    return best, answered


async def test_no_turn_is_long_whatever_is_sent(api: FastAPI, exchange, meter, subtests):
    routes = list(routes_with_bodies(api))
    assert len(routes) >= 9
    for method, path in routes:
        if path.endswith("/documents"):
            continue  # a form, see the tests of uploads
        for shape in SHAPES:
            content = body(shape, limit_of(path))
            with subtests.test(f"{shape} to {method} {path}"):
                longest, answered = await longest_turn(meter, exchange, method, path, content)
                assert longest < SECONDS
                assert answered.status < 500, answered.answer
                assert len(answered.answer) <= MOST_ANSWERED or answered.status == 201
