"""Who has no valid token is told so before any of the body is parsed or kept, and while still sending it."""

import asyncio
import tempfile
from collections.abc import AsyncIterator
from datetime import timedelta

import httpx
import pytest
from httpx import AsyncClient

from api.authentication import Authentication
from api.unread_body import DRAINED
from tests.api.problem import require_problem
from tests.builders.actors import ANN
from tests.builders.requests import ENTRIES
from tests.fixtures.http import api_process
from varve.bootstrap import token_issuer

DOCUMENTS = "/api/v1/documents"
MEGABYTE = b"x" * 1_000_000
UPLOAD = {"file": ("large.txt", MEGABYTE * 5, "text/plain")}


@pytest.fixture(params=["none", "expired"])
def no_entry(settings, request) -> dict[str, str]:
    """Headers that let nobody in."""
    if request.param == "none":
        return {}
    return {"Authorization": f"Bearer {token_issuer(settings).issue(ANN, timedelta(seconds=-1))}"}


class Connection:
    """The two channels of one request whose body is `chunks`, without end when there are none."""

    def __init__(self, path: str, headers: dict[str, str], chunks: list[bytes] | None = None) -> None:
        self.scope = {
            "type": "http",
            "method": "POST",
            "path": path,
            "query_string": b"",
            "headers": [(name.lower().encode(), value.encode()) for name, value in headers.items()],
        }
        self.chunks = chunks
        self.received = 0
        self.status = 0
        self.headers: dict[bytes, bytes] = {}

    async def receive(self):
        chunk = self.chunks.pop(0) if self.chunks else MEGABYTE
        self.received += len(chunk)
        return {"type": "http.request", "body": chunk, "more_body": self.chunks != []}

    async def send(self, message):
        if message["type"] == "http.response.start":
            self.status, self.headers = message["status"], dict(message["headers"])

    async def through(self, app) -> None:
        await app(self.scope, self.receive, self.send)


MALFORMED = [
    (ENTRIES, b'{"name": ', "application/json"),
    (DOCUMENTS, b"no form at all", "multipart/form-data"),
    (DOCUMENTS, b"--b\r\nno header\r\n", "multipart/form-data; boundary=b"),
]


@pytest.mark.parametrize(("path", "content", "media_type"), MALFORMED)
async def test_a_malformed_body_is_never_looked_at(client: AsyncClient, ann, no_entry, path, content, media_type):
    headers = {"Content-Type": media_type}
    assert (await ann.post(path, content=content, headers=headers)).status_code == 400
    require_problem(await client.post(path, content=content, headers=headers | no_entry), 401, "unauthorized")


async def test_an_upload_is_never_spooled(client: AsyncClient, ann, no_entry, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "no folder"))
    assert (await ann.post(DOCUMENTS, files=UPLOAD)).status_code == 400  # a file that large goes to a temporary one
    require_problem(await client.post(DOCUMENTS, files=UPLOAD, headers=no_entry), 401, "unauthorized")


async def test_a_body_that_is_too_long_is_no_reason_to_answer_otherwise(client: AsyncClient, no_entry):
    refused = await client.post(ENTRIES, content=MEGABYTE * 11, headers=no_entry)
    require_problem(refused, 401, "unauthorized")


async def test_the_application_gets_no_request_of_a_stranger(api, no_entry):
    reached = []

    async def application(scope, receive, send):
        reached.append(scope)

    guard = Authentication(application, tokens=api.state.services.tokens, prefix="/api/v1")
    for path in ("/api/v1", ENTRIES, f"{ENTRIES}:batch", "/api/v1/nothing"):
        connection = Connection(path, no_entry, [b"{", b"}"])
        await connection.through(guard)
        assert connection.status == 401, path
    assert reached == []
    for path in ("/health/live", "/docs", "/api/v10"):
        await Connection(path, no_entry, [b""]).through(guard)
    assert [scope["path"] for scope in reached] == ["/health/live", "/docs", "/api/v10"]


async def test_an_endless_body_is_received_up_to_a_bound(api, no_entry):
    connection = Connection(DOCUMENTS, no_entry)
    await connection.through(api)
    assert (connection.status, connection.received) == (401, DRAINED)


async def test_a_client_that_asks_first_is_not_told_to_send(api, no_entry):
    connection = Connection(DOCUMENTS, no_entry | {"Expect": "100-continue"})
    await connection.through(api)
    assert (connection.status, connection.received) == (401, 0)
    assert connection.headers[b"connection"] == b"close"


async def test_a_body_that_is_declared_too_long_is_not_asked_for_either(api, bearer_of):
    headers = bearer_of(ANN) | {"Expect": "100-continue", "Content-Length": "11000000"}
    connection = Connection(ENTRIES, headers)
    await connection.through(api)
    assert (connection.status, connection.received) == (413, 0)


async def test_every_operation_of_the_api_wants_a_token_and_says_so(client: AsyncClient):
    document = (await client.get("/openapi.json")).json()
    operations = [
        (method, path, operation)
        for path, methods in document["paths"].items()
        if path.startswith("/api/v1")
        for method, operation in methods.items()
    ]
    assert len(operations) > 20
    for method, path, operation in operations:
        assert operation["security"] == [{"HTTPBearer": []}], path
        require_problem(await client.request(method, path), 401, "unauthorized")


async def _slowly() -> AsyncIterator[bytes]:
    for _ in range(10):
        yield MEGABYTE[:500_000]
        await asyncio.sleep(0.01)


async def test_a_real_server_answers_a_client_that_is_still_sending(settings):
    async with api_process(settings) as url, AsyncClient(base_url=url, trust_env=False) as client:
        require_problem(await client.post(DOCUMENTS, files=UPLOAD), 401, "unauthorized")
        require_problem(await client.post(DOCUMENTS, content=_slowly()), 401, "unauthorized")
        closing = {"Connection": "close"}
        require_problem(await client.post(DOCUMENTS, content=_slowly(), headers=closing), 401, "unauthorized")
        assert (await _ask_first(url)).split(b"\r\n")[0] == b"HTTP/1.1 401 Unauthorized"
        assert (await client.get("/health/live")).status_code == 200


async def _ask_first(url: httpx.URL) -> bytes:
    """Everything that the server says, until it closes, to a client that waits to be told to send its body."""
    reader, writer = await asyncio.open_connection(url.host, url.port)
    writer.write(
        b"POST /api/v1/documents HTTP/1.1\r\nHost: varve\r\nContent-Length: 5000000\r\nExpect: 100-continue\r\n\r\n"
    )
    async with asyncio.timeout(10):
        said = await reader.read()
    writer.close()
    return said
