"""Voided events in the read models: a rebuild leaves them out, and versions stay those that If-Match wants."""

import asyncio
import json

import pytest
from httpx import AsyncClient

from tests.builders.requests import create_entry, read_after
from tests.fixtures.command_line import run_varve


async def void(settings, position: str) -> dict:
    code, output, said = await run_varve(
        settings, "events", "void", position, "--tenant", "acme", "--reason", "wrong", "--json"
    )
    assert code == 0, said
    return json.loads(output)


@pytest.mark.usefixtures("engine")
async def test_what_was_voided_is_gone_after_a_rebuild_and_the_entry_can_be_changed(
    settings, ann: AsyncClient, otto: AsyncClient
):
    entry = await create_entry(ann, name="Clay")
    wrong = await ann.patch(entry.url, json={"name": "Mud"})
    assert (await read_after(ann, entry.url, wrong)).json()["name"] == "Mud"

    voided = await void(settings, wrong.headers["X-Position"])
    seen = {"X-Min-Position": voided["position"]}
    read = await ann.get(entry.url, headers=seen)
    assert (read.json()["name"], read.json()["version"]) == ("Mud", 3)  # until it is rebuilt
    for name in voided["to_rebuild"]:
        if name == "knowledge_entry_list":
            await otto.post(f"/api/v1/admin/projections/{name}/rebuilds")
    async with asyncio.timeout(20):
        while (await ann.get(entry.url, headers=seen)).json()["name"] != "Clay":  # noqa: ASYNC110 - a server is watched
            await asyncio.sleep(0.1)

    changed = await ann.patch(entry.url, json={"description": "layers"}, headers={"If-Match": '"3"'})
    assert changed.is_success, changed.text
    read = await read_after(ann, entry.url, changed)
    assert (read.json()["name"], read.json()["description"], read.json()["version"]) == ("Clay", "layers", 4)
    history = (await ann.get(f"{entry.url}/history")).json()["items"]
    assert [item["event_type"] for item in history][1:3] == ["KnowledgeEntryUpdated", "EventVoided"]
    state = (await ann.get(f"{entry.url}/state")).json()
    assert state["state"]["name"] == "Clay"
