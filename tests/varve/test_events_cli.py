"""The tools of the log, on PostgreSQL alone: no API, no worker and no Redis runs here."""

import asyncio
import json

import pytest
from typer.testing import CliRunner

from domain.knowledge.entry import ENTRY
from eventstore.append import Appender, open_appender
from eventstore.mapper import PydanticMapper
from eventstore.records import Appended, Claims
from tests.builders.appends import append_of
from tests.builders.entries import ENTRY_ID, created, deleted, linked
from tests.fixtures.command_line import run_varve
from tests.fixtures.http import process_environment
from varve.bootstrap import event_types
from varve.cli.events_states import Change, changes_between
from varve.cli.main import app

STREAM = ENTRY.stream(ENTRY_ID)


@pytest.fixture
def varve(settings):
    """Run a command; return its exit code, its items and what it said to people."""
    environment = process_environment(settings) | {"VARVE_REDIS_URL": "unix:///nowhere", "COLUMNS": "200"}

    async def run(*arguments: str, **options):
        result = await asyncio.to_thread(CliRunner().invoke, app, arguments, env=environment, **options)
        return result.exit_code, result.stdout, result.stderr + repr(result.exception)

    return run


@pytest.fixture
def items(varve):
    """Run a command that succeeds and prints JSON; return its lines."""

    async def run(*arguments: str):
        code, output, said = await varve(*arguments)
        assert code == 0, said
        return [json.loads(line) for line in output.splitlines()]

    return run


@pytest.fixture
async def history(settings):
    async with open_appender(settings.role_url("varve_writer"), PydanticMapper(event_types())) as appender:
        yield await _append_history(appender)


async def _append_history(appender: Appender) -> Appended:
    await appender.append(append_of({STREAM: [created(name="Clay", tags=("old",)), linked()]}))
    await appender.append(append_of({"entry-2": [created()]}, tenant="umbra", claims=Claims(taken={"one": "entry-2"})))
    return await appender.append(append_of({STREAM: [deleted()]}, after=2))


async def test_the_log_is_printed_in_its_order_and_from_any_position(items, history):
    whole = await items("events", "tail", "--json")
    assert [item["position"] for item in whole] == [f"{history.epoch}-{number}" for number in (1, 2, 3, 4)]
    rest = await items("events", "tail", "--after", whole[1]["position"], "--json")
    assert rest == whole[2:]
    assert await items("events", "tail", "--tenant", "umbra", "--json") == [whole[2]]
    assert await items("events", "tail", "--topic", "knowledge.KnowledgeEntryDeleted", "--json") == [whole[3]]


async def test_a_stream_is_shown_with_its_positions(items, history):
    shown = await items("events", "show", STREAM, "--tenant", "acme", "--json")
    assert [(item["version"], item["position"]) for item in shown] == [
        (1, f"{history.epoch}-1"),
        (2, f"{history.epoch}-2"),
        (3, f"{history.epoch}-4"),
    ]


@pytest.mark.usefixtures("history")
async def test_a_state_is_shown_at_a_version_and_a_time(items):
    (now,) = await items("events", "state", STREAM, "--tenant", "acme")
    (then,) = await items("events", "state", STREAM, "--tenant", "acme", "--at", "2")
    moment = (await items("events", "show", STREAM, "--tenant", "acme", "--json"))[1]["recorded_at"]
    assert (now["version"], now["state"]["is_deleted"]) == (3, True)
    assert (then["version"], then["state"]["is_deleted"]) == (2, False)
    assert await items("events", "state", STREAM, "--tenant", "acme", "--at", moment) == [then]


@pytest.mark.usefixtures("history")
async def test_the_difference_of_two_states_is_what_has_changed(items):
    changes = await items("events", "diff", STREAM, "--tenant", "acme", "--from", "2", "--to", "3", "--json")
    assert changes == [{"path": "is_deleted", "from": False, "to": True}]
    whole = await items("events", "diff", STREAM, "--tenant", "acme", "--json")
    assert {"path": "tags[0]", "from": None, "to": "old"} in whole


@pytest.mark.parametrize(
    ("before", "after", "changes"),
    [
        ({"a": 1}, {"a": 1}, []),
        ({"a": [1, 2]}, {"a": [1, 3, 4]}, [Change("a[1]", 2, 3), Change("a[2]", None, 4)]),
        (None, {"a": {"b": 1}}, [Change("a.b", None, 1)]),
        ({"a": {"b": 1}}, {"a": "text"}, [Change("a", {"b": 1}, "text")]),
    ],
)
def test_differences_are_the_smallest(before, after, changes):
    assert list(changes_between(before, after)) == changes


async def test_the_log_is_counted(items, history):
    (counted,) = await items("events", "stats", "--json")
    assert (counted["head"], counted["events"], counted["streams"]) == (f"{history.epoch}-4", 4, 2)
    assert counted["by_tenant"] == {"acme": 3, "umbra": 1}
    assert counted["by_type"]["knowledge.KnowledgeEntryCreated"] == 2
    assert list(counted["by_day"].values()) == [4]
    assert counted["longest_streams"][0] == {"tenant": "acme", "stream": STREAM, "version": 3}
    (of_one,) = await items("events", "stats", "--tenant", "umbra", "--json")
    assert (of_one["events"], of_one["streams"]) == (1, 1)


async def test_a_wrong_event_is_voided_and_what_to_rebuild_is_named(items, varve, history):
    wrong = f"{history.epoch}-4"
    (voided,) = await items("events", "void", wrong, "--tenant", "acme", "--reason", "mistaken", "--json")
    assert voided == {
        "position": f"{history.epoch}-5",
        "stream": STREAM,
        "version": 3,
        "topic": "knowledge.KnowledgeEntryDeleted",
        "to_rebuild": ["knowledge_entry_list", "user_activity", "search_text", "search_vector"],
    }
    (now,) = await items("events", "state", STREAM, "--tenant", "acme")
    assert (now["version"], now["state"]["is_deleted"]) == (4, False)
    last = (await items("events", "tail", "--json"))[-1]
    assert (last["topic"], last["data"]["reason"]) == ("log.EventVoided", "mistaken")
    code, _, said = await varve("events", "void", wrong, "--tenant", "acme", "--reason", "again")
    assert (code, "voided before" in said) == (1, True)


async def test_claims_are_verified_and_put_right(varve, items, history, admin):
    assert await items("claims", "verify", "--json") == []
    await admin.execute("delete from varve.claims")
    difference = {"kind": "claim", "tenant": "umbra", "name": "one", "log": "entry-2", "table": None}
    code, output, _ = await varve("claims", "verify", "--json")
    assert (code, json.loads(output)) == (1, difference)
    assert await items("claims", "rebuild", "--json") == [difference]
    assert await items("claims", "verify", "--json") == []


async def test_a_restore_is_marked_only_when_it_is_confirmed(varve, items, history):
    code, _, said = await varve("restore", input="n\n")
    assert (code, f"{history.epoch}-4" in said) == (1, True)
    code, _, said = await varve("restore", input="y\n")
    assert code == 0, said
    (answer,) = await items("restore", "--yes", "--json")
    assert answer["fork_position"] == f"{answer['epoch']}-4"
    assert answer["epoch"] != history.epoch


async def test_what_was_not_restored_with_the_log_is_named(items, history, admin):
    await admin.execute("update varve.checkpoints set position = 99 where projection = 'user_activity'")
    (answer,) = await items("restore", "--yes", "--json")
    assert answer["beyond_the_end"] == ["user_activity"]


@pytest.mark.parametrize("command", [("events", "stats"), ("claims", "verify"), ("restore", "--yes")])
async def test_a_server_that_does_not_answer_is_said_in_one_sentence(settings, tmp_path, command):
    url = f"postgresql://x@/varve?host={tmp_path}"
    code, _, said = await run_varve(settings, *command, VARVE_DATABASE_URL=url)
    assert (code, f"PostgreSQL does not answer at {tmp_path}" in said, "Traceback" in said) == (1, True, False)


@pytest.mark.parametrize(
    ("position", "sentence"),
    [
        ("{epoch}-99", "tenant acme has no event at"),
        ("{epoch}-3", "tenant acme has no event at"),
        ("0123456789ab-1", "is no position of this log"),
        ("nonsense", "is no position of this log"),
    ],
)
async def test_what_is_not_there_is_not_voided(settings, history, position, sentence):
    wrong = position.replace("{epoch}", history.epoch)
    code, output, said = await run_varve(
        settings, "events", "void", wrong, "--tenant", "acme", "--reason", "a test", COLUMNS="200"
    )
    assert (code, output) == (1, "")
    assert sentence in said
