"""The command line against a running system: ingest, search, projections, as programs of their own."""

import asyncio
import json
import re
import sys
from collections.abc import AsyncIterator

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
    (live,) = [line for line in said.splitlines() if "search_text" in line and "live" in line]
    assert "0-255" in live
    assert re.search(r"\d\d:\d\d:\d\d", live), "the worker's last sign of life"


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
