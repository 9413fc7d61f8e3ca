"""What the processes write: a line of JSON for each fact, with its trace, tenant and correlation, and no secret."""

import json
import secrets
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from tests.builders import actors
from tests.builders.requests import ENTRIES
from tests.fixtures.http import BearerOf, api_process
from varve.settings import Settings

CORRELATION = "0190a000-0000-7000-8000-00000000c0de"
TRACE = secrets.token_hex(16)
CONTENT = "an entry's own words, which are nobody's business. " * 20
QUESTION = "a question that is private"


@pytest.fixture
def log_of(settings: Settings) -> Callable[[], list[dict[str, Any]]]:
    """Read what the API process wrote."""

    def lines() -> list[dict[str, Any]]:
        text = (settings.data_directory / "api.log").read_text(encoding="utf-8")
        return [json.loads(line) for line in text.splitlines()]

    return lines


@pytest.fixture
async def used_api(settings: Settings, bearer_of: BearerOf) -> dict[str, str]:
    """An API process that was sent a command, a refused one, a search and a bad token; returns the good bearer."""
    bearer = bearer_of(actors.ANN)
    context = {"traceparent": f"00-{TRACE}-{secrets.token_hex(8)}-01", "X-Correlation-Id": CORRELATION}
    async with (
        api_process(settings) as url,
        httpx.AsyncClient(base_url=url, headers=bearer | context, trust_env=False) as client,
    ):
        entry = {"name": "Clay", "description": CONTENT}
        assert (await client.post(ENTRIES, json=entry)).status_code == 201
        assert (await client.patch(f"{ENTRIES}/{CORRELATION}", json={"name": CONTENT[:400]})).status_code == 404
        assert (await client.get("/api/v1/search", params={"q": QUESTION})).status_code == 200
        assert (await client.get(ENTRIES, headers={"Authorization": "Bearer not-a-token"})).status_code == 401
    return bearer


async def test_every_line_of_a_request_is_json_with_its_trace_tenant_and_correlation(used_api, log_of):
    lines = [line for line in log_of() if line.get("correlation_id") == CORRELATION]
    assert {line["event"] for line in lines} >= {"http.request", "command.executed", "command.refused"}
    assert {line["trace_id"] for line in lines} == {TRACE}
    statuses = [line["status"] for line in lines if line["event"] == "http.request"]
    assert statuses == [201, 404, 200, 401]
    known = [line for line in lines if line.get("status") != 401]
    assert {(line["tenant"], line["user"]) for line in known} == {("acme", "ann")}
    assert all(line["timestamp"] and line["level"] and line["span_id"] for line in lines)


async def test_no_line_holds_a_secret_or_what_was_written(used_api, log_of, settings):
    log = json.dumps(log_of(), ensure_ascii=False)
    token = used_api["Authorization"].removeprefix("Bearer ")
    secret = settings.secret_key.get_secret_value()
    passwords = [settings.role_password(role) for role in ("varve_writer", "varve_reader", "varve_projector")]
    for hidden in (token, token.rpartition(".")[2], "not-a-token", secret, *passwords, CONTENT[:40], QUESTION):
        assert hidden not in log
    assert max(len(value) for line in log_of() for value in line.values() if isinstance(value, str)) < 2_000


async def test_lines_of_the_next_request_keep_nothing_of_the_one_before(used_api, log_of):
    refused = [line for line in log_of() if line.get("status") == 401]
    assert len(refused) == 1
    assert "tenant" not in refused[0]
    assert "user" not in refused[0]
