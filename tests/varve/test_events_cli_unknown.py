"""The tools of the log at events that this code does not know: they print them, and name the one that ends a state."""

import asyncio
import json

import pytest
from eventsourcing.persistence import StoredEvent
from eventsourcing.utils import Environment
from typer.testing import CliRunner

from domain.knowledge.entry import ENTRY
from eventstore.append import open_appender
from eventstore.errors import EventStoreError
from eventstore.mapper import PydanticMapper
from eventstore.persistence import VarveFactory
from tests.builders.appends import append_of
from tests.builders.entries import ENTRY_ID, created
from tests.builders.unknown_events import UNKNOWN, append_unknown, token_of
from tests.fixtures.http import process_environment
from varve.bootstrap import event_types
from varve.cli.main import app

STREAM = ENTRY.stream(ENTRY_ID)


@pytest.fixture
def varve(settings):
    """Run a command in this process; return its exit code, its output, and what it said or raised."""
    environment = process_environment(settings) | {"VARVE_REDIS_URL": "unix:///nowhere", "COLUMNS": "200"}

    async def run(*arguments: str):
        result = await asyncio.to_thread(CliRunner().invoke, app, ["events", *arguments], env=environment)
        assert result.exception is None or isinstance(result.exception, SystemExit | EventStoreError)
        return result.exit_code, result.stdout, f"{result.stderr} {result.exception}"

    return run


@pytest.fixture
def items(varve):
    async def run(*arguments: str):
        code, output, said = await varve(*arguments)
        assert code == 0, said
        return [json.loads(line) for line in output.splitlines()]

    return run


@pytest.fixture
async def unknown(settings, admin):
    """An entry with an event that nobody knows, one whose data is no JSON, and one of another application."""
    async with open_appender(settings.role_url("varve_writer"), PydanticMapper(event_types())) as appender:
        await appender.append(append_of({STREAM: [created(name="Clay")]}))
    position = await append_unknown(admin, stream=STREAM)
    await append_unknown(admin, created().TOPIC, 99, stream="entry-other", data=b"\xff no JSON")

    def write() -> None:
        environment = {"VARVE_WRITER_DATABASE_URL": settings.role_url("varve_writer"), "VARVE_TENANT": "acme"}
        factory = VarveFactory(Environment("Kennel", environment))
        factory.application_recorder().insert_events([StoredEvent("fido", 1, created().TOPIC, b'{"bark":1}')])
        factory.close()

    await asyncio.to_thread(write)
    return position


async def test_tail_and_show_print_them_as_stored_and_marked(items, varve, unknown):
    first, pinned, newer, foreign = await items("tail", "--json")
    assert "unknown" not in first
    assert (pinned["topic"], pinned["class_version"], pinned["data"]) == (UNKNOWN, 1, {"pin": "red"})
    assert pinned["unknown"] == f"this code knows no event type {UNKNOWN}, which newer code has stored"
    assert (newer["class_version"], newer["data"]) == (99, "\\xff no JSON")
    assert (foreign["application"], foreign["data"]) == ("kennel", {"bark": 1})
    assert await items("show", STREAM, "--tenant", "acme", "--json") == [first, pinned]
    assert await items("show", "kennel-fido", "--tenant", "acme", "--json") == [foreign]
    code, output, _ = await varve("tail")
    assert (code, [UNKNOWN in line and "unknown: " in line for line in output.splitlines()]) == (
        0,
        [False, True, False, False],
    )


async def test_a_state_ends_at_one_and_goes_on_when_it_is_voided(items, varve, unknown, admin):
    for arguments in (("state", STREAM), ("diff", STREAM, "--from", "1"), ("state", STREAM, "--at", "2")):
        code, output, said = await varve(*arguments, "--tenant", "acme")
        assert (code, output) == (1, "")
        assert f"{STREAM} has no state from its event 2 on" in said
    (before,) = await items("state", STREAM, "--tenant", "acme", "--at", "1")
    assert before["state"]["name"] == "Clay"
    wrong = [await token_of(admin, position) for position in (unknown, unknown + 1)]
    voided = await items("void", *wrong, "--reason", "nobody knows it", "--json")
    assert [each["topic"] for each in voided] == [UNKNOWN, created().TOPIC]
    (now,) = await items("state", STREAM, "--tenant", "acme")
    assert (now["version"], now["state"]) == (3, before["state"])
    code, _, said = await varve("void", await token_of(admin, 1_000), "--reason", "nothing is there")
    assert (code, "there is no event at" in said) == (1, True)
    (counted,) = await items("stats", "--json")
    assert counted["by_type"][UNKNOWN] == counted["by_type"][f"{created().TOPIC} of kennel"] == 1


async def test_a_stream_that_another_application_wrote_has_no_state_here(varve, unknown):
    code, _, said = await varve("state", "entry-00000000-0000-0000-0000-000000000001", "--at", "1", "--tenant", "acme")
    assert code == 2
    assert "Varve wrote no event" in said
