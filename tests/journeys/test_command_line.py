"""The command line against a running system: ingest, search, projections, as programs of their own."""

import asyncio
import json
import re
import sys
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from uuid import uuid4

import httpx
import pytest

from tests.fixtures.http import api_process, process_environment
from tests.journeys.conftest import EXAMPLES
from varve.settings import Settings


@pytest.fixture
async def url(settings: Settings, system: object) -> AsyncIterator[httpx.URL]:
    """Where the API of the running system listens."""
    async with api_process(settings) as listening:
        yield listening


@pytest.fixture
def varve(settings: Settings, url: httpx.URL, tmp_path):
    """Run `varve` with these arguments; returns its exit code, its output and what it said to people."""

    async def run(*arguments: str) -> tuple[int | None, str, str]:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-P",
            "-c",
            "from varve.cli import main; main()",
            *arguments,
            env=process_environment(settings) | {"VARVE_URL": str(url), "COLUMNS": "400"},  # a table's row is a line
            cwd=tmp_path,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        output, said = await process.communicate()
        return process.returncode, output.decode(), said.decode()

    return run


def items(output: str) -> list[dict]:
    return [json.loads(line) for line in output.splitlines()]


async def test_a_folder_is_ingested_searched_and_its_index_rebuilt(varve, tmp_path):
    folder = tmp_path / "documents"
    folder.mkdir()
    for name in ("event-sourcing.md", "incident-report.txt"):
        (folder / name).write_bytes((EXAMPLES / name).read_bytes())
    code, output, said = await varve("ingest", str(folder), "--json")
    assert code == 0, said
    assert {item["outcome"] for item in items(output)} == {"processed"}

    (folder / "blank.txt").write_text("  ", encoding="utf-8")
    code, output, said = await varve("ingest", str(folder), "--json")
    assert code == 3, said
    outcomes = {item["path"].rpartition("/")[2]: (item["outcome"], item["reason"]) for item in items(output)}
    assert outcomes == {
        "blank.txt": ("failed", "empty"),
        "event-sourcing.md": ("already", None),
        "incident-report.txt": ("already", None),
    }

    code, output, said = await varve("search", "what is an expected version", "--mode", "text", "--json")
    assert code == 0, said
    assert items(output)[0]["title"] == "Event sourcing in one page"

    code, output, said = await varve("projections", "rebuild", "search_text", "--json")
    assert code == 0, said
    assert items(output) == [{"projection": "search_text", "generation": 2, "status": "live"}]
    code, after, said = await varve("search", "what is an expected version", "--mode", "text", "--json")
    assert code == 0, said
    assert items(after)[0]["title"] == "Event sourcing in one page"

    code, output, said = await varve("projections", "list", "--json")
    assert code == 0, said
    lanes = [(lane["projection"], lane["generation"], lane["status"]) for lane in items(output)]
    assert ("search_text", 1, "retired") in lanes
    assert ("search_text", 2, "live") in lanes
    code, output, said = await varve("projections", "list")
    assert code == 0, said
    live = [line for line in said.splitlines() if "search_text" in line and "live" in line]
    assert [slots in line for slots, line in zip(("0-127", "128-255"), live, strict=True)] == [True, True]
    assert re.search(r"\d\d:\d\d:\d\d", live[0]), "the worker's last sign of life"


async def test_what_went_wrong_is_said_in_a_sentence_and_in_the_exit_code(varve, tmp_path):
    for arguments, sentence in (
        (("projections", "rebuild", "nothing"), "projection-not-found"),
        (("search", "clay", "--mode", "magic"), "invalid-request"),
        (("ingest", str(tmp_path / "missing")), "There is no file or folder"),
    ):
        code, output, said = await varve(*arguments)
        assert code not in {0, None}, arguments
        assert sentence in said.replace("\n", " "), arguments
        assert "Traceback" not in said
        assert output == ""


async def test_a_rebuild_that_only_compares_fails_when_rows_differ_and_a_repair_mends_them(varve, admin):
    code, _, said = await varve("ingest", str(EXAMPLES))
    assert code == 0, said
    table = "read_models.document_status_1_documents"
    code, output, said = await varve("projections", "rebuild", "document_status", "--verify", "--json")
    assert (code, items(output)[0]["differing"]) == (0, 0), said
    await admin.execute(f"update {table} set file_name = 'wrong.md'")
    code, output, said = await varve("projections", "rebuild", "document_status", "--verify", "--json")
    (compared,) = items(output)
    assert (code, compared["by_table"]) == (1, {"documents": compared["differing"]}), said
    code, output, said = await varve("projections", "differences", "document_status", "--json")
    (differences,) = items(output)
    assert {key["tenant"] for key in differences["some_keys"]["documents"]} == {"demo"}, said
    code, _, said = await varve("projections", "rebuild", "document_status", "--only-tenant", "demo")
    assert (code, "was repaired" in said) == (0, True), said
    code, _, said = await varve("projections", "rebuild", "document_status", "--verify")
    assert (code, "0 differing rows" in said) == (0, True), said


async def test_a_rebuild_waits_for_its_swap_and_shows_how_it_gets_on(varve):
    code, _, said = await varve("projections", "rebuild", "user_activity", "--no-swap")
    assert code == 0, said
    code, output, said = await varve("projections", "status", "user_activity", "--json")
    (rebuild,) = items(output)
    assert (code, rebuild["purpose"], rebuild["generation"]) == (0, "hold", 2), said
    code, _, said = await varve("projections", "rebuild", "user_activity", "--verify")
    assert (code, "generation 2 is being filled" in said, "rebuild-is-running" in said) == (1, True, True), said
    code, _, said = await varve("projections", "swap", "user_activity")
    assert (code, "generation 2 is read from now on" in said) == (0, True), said
    _, output, _ = await varve("projections", "list", "--json")
    found = {(lane["projection"], lane["generation"], lane["status"]) for lane in items(output)}
    assert ("user_activity", 2, "live") in found
    code, output, said = await varve("projections", "rollback", "user_activity", "--json")
    assert (code, items(output)) == (0, [{"projection": "user_activity", "generation": 1, "status": "live"}]), said


async def test_a_command_about_nothing_ends_with_a_sentence_and_1(varve, admin):
    (epoch,) = await (await admin.execute("select epoch from varve.log_epochs")).fetchone()
    name = "user_activity"
    for arguments, sentence in (
        (("swap", name), f"No rebuild of {name} is running. Generation 1 is live since"),
        (("cancel", name), f"No rebuild of {name} is running. Generation 1 is live since"),
        (("rollback", name), f"There is no generation before the live one that {name} can go back to."),
        (("resume", name), f"Nothing of {name} is paused, so there is nothing to resume."),
        (("retry", name), f"Nothing of {name} is parked, so there is nothing to try again."),
        (("skip", name, f"{epoch}-7", "--reason", "x"), "is not one that user_activity has parked. The log ends at"),
        (("as-of", "drop", str(uuid4())), "Nothing of this id is built or being built"),
        (("as-of", "start", name, "--to-position", f"{epoch}-7"), "The log has nothing as of"),
    ):
        code, output, said = await varve("projections", *arguments)
        assert (code, output) == (1, ""), (arguments, said)
        assert sentence in said, (arguments, said)
    code, output, said = await varve("projections", "cancel", name, "--json")
    (refused,) = items(output)
    assert (code, refused["status"], refused["code"]) == (1, "refused", "no-rebuild-running"), said
    cursor = await admin.execute("select count(*) from varve.events where topic like 'operations.%'")
    assert await cursor.fetchone() == (0,)


async def test_what_an_operator_asks_for_is_told_when_it_is_done(varve):
    name = "user_activity"
    for arguments, sentence in (
        (("pause", name, "--reason", "its disk is full"), f"{name} is paused: generation 1."),
        (("resume", name), f"{name} is run again: generation 1."),
        (("rebuild", name, "--no-swap"), f"{name} is being rebuilt as generation 2"),
        (("cancel", name), f"The rebuild of {name} as generation 2 is given up."),
    ):
        code, _, said = await varve("projections", *arguments)
        assert (code, sentence in said) == (0, True), (arguments, said)


async def test_read_models_are_built_as_of_a_time_listed_and_dropped(varve):
    code, _, said = await varve("ingest", str(EXAMPLES / "event-sourcing.md"))
    assert code == 0, said
    code, _, said = await varve("projections", "as-of", "start", "search_text", "--to-time", "2001-01-01T00:00:00")
    assert (code, "Its first event was recorded at" in said) == (1, True), said
    now = datetime.now(UTC).replace(tzinfo=None).isoformat()
    code, output, said = await varve("projections", "as-of", "start", "search_text", "--to-time", now)
    assert code == 0, said
    as_of = output.strip()
    async with asyncio.timeout(30):
        while True:
            code, output, said = await varve("projections", "as-of", "list", "--json")
            if [(each["as_of"], each["status"]) for each in items(output)] == [(as_of, "kept")]:
                break
    code, _, said = await varve("projections", "as-of", "drop", as_of)
    assert (code, "is dropped" in said) == (0, True), said
    code, _, said = await varve("projections", "as-of", "start", "search_text")
    assert (code, "--to-position" in said) == (2, True), said
