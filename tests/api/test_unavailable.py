"""PostgreSQL can't be reached: 503 with Retry-After, and the same key works once it is back."""

import psycopg
import pytest
from httpx import AsyncClient

from tests.api.problem import require_problem
from tests.builders.requests import ENTRIES

KEY = {"Idempotency-Key": "sent-again"}


@pytest.fixture
async def shut(settings, services, api):
    """Take the database away and give it back."""
    api.state.services.queries._read_models._primary.pool.timeout = 1.0  # how long a request waits for a connection
    name = settings.required_database_url().partition("?")[0].rpartition("/")[2]
    async with await psycopg.AsyncConnection.connect(services.admin_database_url, autocommit=True) as server:

        async def allow(answer: str) -> None:
            await server.execute(f"alter database {name} allow_connections {answer}")
            if answer == "false":
                await server.execute(
                    "select pg_terminate_backend(pid) from pg_stat_activity where datname = %s", (name,)
                )

        yield allow
        await allow("true")


@pytest.mark.usefixtures("engine")
async def test_an_unreachable_database_is_a_problem_that_says_when_to_come_back(ann: AsyncClient, shut):
    await ann.post(ENTRIES, json={"name": "before"})
    await shut("false")
    for answer in (await ann.post(ENTRIES, json={"name": "Varve"}, headers=KEY), await ann.get(ENTRIES)):
        require_problem(answer, 503, "store-unavailable")
        assert int(answer.headers["Retry-After"]) >= 1
    ready = await ann.get("/health/ready")
    assert (ready.status_code, ready.json()["status"]) == (503, "not ready")
    await shut("true")
    for _ in range(100):
        again = await ann.post(ENTRIES, json={"name": "Varve"}, headers=KEY)
        if again.status_code != 503:
            break
    assert again.status_code == 201, again.text
    repeated = await ann.post(ENTRIES, json={"name": "Varve"}, headers=KEY)
    assert repeated.json() == again.json()
