"""`varve events show` and `state`: a stream and its state at any version or time, as programs of their own."""

import asyncio
import json
import sys

import pytest
from httpx import AsyncClient

from tests.builders.requests import create_entry
from tests.fixtures.http import process_environment


@pytest.fixture
def events(settings, tmp_path):
    """Run `varve events` with these arguments for the tenant `acme`; returns its exit code, output and complaints."""

    async def run(*arguments: str) -> tuple[int | None, str, str]:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-P",
            "-c",
            "from varve.cli import main; main()",
            "events",
            *arguments,
            "--tenant",
            "acme",
            env=process_environment(settings) | {"COLUMNS": "300"},
            cwd=tmp_path,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        output, said = await process.communicate()
        return process.returncode, output.decode(), said.decode()

    return run


async def test_a_stream_is_shown_from_its_first_event_to_its_last(ann: AsyncClient, events):
    entry = await create_entry(ann, name="one")
    await ann.patch(entry.url, json={"name": "two"})
    code, output, said = await events("show", f"entry-{entry.id}", "--json")
    assert code == 0, said
    shown = [json.loads(line) for line in output.splitlines()]
    assert [(event["version"], event["data"]["name"]) for event in shown] == [(1, "one"), (2, "two")]


async def test_a_state_is_that_of_the_version_or_the_time(ann: AsyncClient, events):
    entry = await create_entry(ann, name="one")
    await ann.patch(entry.url, json={"name": "two"})
    items = (await ann.get(f"{entry.url}/history")).json()["items"]
    for at, name in (("1", "one"), (items[0]["recorded_at"], "one"), (items[1]["recorded_at"], "two"), (None, "two")):
        code, output, said = await events("state", f"entry-{entry.id}", *(["--at", at] if at else []))
        assert code == 0, said
        assert json.loads(output)["state"]["name"] == name


async def test_what_is_not_there_is_said(ann: AsyncClient, events):
    entry = await create_entry(ann)
    for arguments, complaint in (
        (("show", "entry-of-nobody"), "has no stream entry-of-nobody"),
        (("state", f"entry-{entry.id}", "--at", "2000-01-01"), "did not exist at 2000-01-01"),
        (("state", f"entry-{entry.id}", "--at", "now"), "a version or an ISO 8601 time"),
    ):
        code, _, said = await events(*arguments)
        assert code == 2
        assert complaint in said
