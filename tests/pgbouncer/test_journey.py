"""What a client does, through PgBouncer: write, read the own write, search, look at the past."""

import pytest
from httpx import AsyncClient

from tests.builders.requests import ENTRIES, create_entry
from tests.journeys.conftest import setting_overrides, system
from tests.journeys.requests import process, sources
from tests.pgbouncer.server import PgBouncer

__all__ = ["setting_overrides", "system"]  # fixtures


@pytest.mark.usefixtures("system")
async def test_a_client_finds_what_it_wrote_in_lists_searches_and_histories(
    ann: AsyncClient, eve: AsyncClient, pgbouncer: PgBouncer
):
    entry = await create_entry(ann, name="Clay of the north", tags=["clay"])
    listed = await ann.get(ENTRIES, params={"tag": "clay"}, headers=entry.seen)
    assert [item["entry_id"] for item in listed.json()["items"]] == [entry.id]

    changed = await ann.patch(entry.url, json={"name": "Granite"})
    position = changed.headers["X-Position"]
    for mode in ("text", "vector", "hybrid"):
        assert await sources(ann, "granite", position, mode=mode) == [entry.id]
    history = await ann.get(f"{entry.url}/history", headers={"X-Min-Position": position})
    assert [item["version"] for item in history.json()["items"]] == [1, 2]
    past = await ann.get(f"{entry.url}/state", params={"version": 1})
    assert past.json()["state"]["name"] == "Clay of the north"

    document = await process(ann)
    assert document.id in await sources(ann, "clay under the ice", document.position)
    assert (await eve.get(entry.url, headers={"X-Min-Position": position})).status_code == 404
    assert await sources(eve, "granite", position) == []
    assert pgbouncer.transactions() > 100
