"""`varve events schemas` needs no server, and says which event, version and field is meant and what to do."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from varve.cli import main

PUBLISHED = Path(__file__).parents[2] / "docs" / "events"
DELETED = "knowledge.DocumentDeleted"

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of what is published, which a test may change as if the code had changed the other way."""
    return Path(shutil.copytree(PUBLISHED, tmp_path / "events"))


@pytest.fixture
def schemas(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run the command; returns its exit code, its output and what it said to people."""

    def run(*arguments: str | Path) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["varve", "events", "schemas", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        output, said = capsys.readouterr()
        return int(ended.value.code or 0), output, said

    return run


def items(output: str) -> list[dict]:
    return [json.loads(line) for line in output.splitlines()]


def make_attempt_a_text(folder: Path) -> Path:
    file = folder / "knowledge.DocumentProcessingStarted" / "v1.schema.json"
    schema = json.loads(file.read_bytes())
    schema["properties"]["attempt"] = {"type": "string"}
    file.write_text(json.dumps(schema), encoding="utf-8")
    return file


def test_the_code_keeps_what_is_published_and_no_server_is_asked(tmp_path):
    program = "from varve.cli import main; main()"
    bare = {name: value for name, value in os.environ.items() if not name.startswith("VARVE_")}
    result = subprocess.run(
        [sys.executable, "-P", "-c", program, "events", "schemas", "--check"],
        cwd=tmp_path,
        env=bare,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")
    assert list(tmp_path.iterdir()) == []


def test_a_changed_field_is_named_with_its_event_version_and_what_to_do(schemas: Run, folder: Path):
    make_attempt_a_text(folder)
    code, output, said = schemas("--check", "--folder", folder)
    assert (code, said.strip()) == (1, "1 problem")
    assert output == (
        'knowledge.DocumentProcessingStarted version 1, $.attempt: type was "string" and is "integer". '
        "To do: take the change back, or raise class_version to 2 and write upcast_v1_v2.\n"
    )


def test_a_problem_is_an_item_for_programs(schemas: Run, folder: Path):
    make_attempt_a_text(folder)
    code, output, _ = schemas("--check", "--json", "--folder", folder)
    assert code == 1
    assert items(output) == [
        {
            "kind": "changed",
            "topic": "knowledge.DocumentProcessingStarted",
            "class_version": 1,
            "field": "$.attempt",
            "what": 'type was "string" and is "integer"',
            "advice": "take the change back, or raise class_version to 2 and write upcast_v1_v2",
        }
    ]


def test_what_is_published_is_never_written_over(schemas: Run, folder: Path):
    file = make_attempt_a_text(folder)
    before = file.read_bytes()
    assert schemas("--write", "--folder", folder) == schemas("--check", "--folder", folder)
    assert file.read_bytes() == before


def test_a_topic_that_the_code_has_lost_is_named(schemas: Run, folder: Path):
    (folder / DELETED).rename(folder / "knowledge.DocumentShredded")
    code, output, _ = schemas("--check", "--json", "--folder", folder)
    assert code == 1
    assert {(item["kind"], item["topic"]) for item in items(output)} == {
        ("gone", "knowledge.DocumentShredded"),
        ("unpublished", DELETED),
    }


def test_a_new_version_is_published_from_its_examples(schemas: Run, folder: Path):
    schema, examples = (folder / DELETED / f"v1.{name}" for name in ("schema.json", "examples.jsonl"))
    schema.unlink()
    examples.write_text('{ "document_id": "0190a000-0000-7000-8000-0000000000d1" }\n', encoding="utf-8")
    code, output, _ = schemas("--write", "--json", "--folder", folder)
    assert (code, [item["topic"] for item in items(output)]) == (0, [DELETED])
    for file in (schema, examples):
        assert file.read_bytes() == (PUBLISHED / DELETED / file.name).read_bytes()


def test_the_list_says_which_versions_there_are_and_where(schemas: Run):
    code, output, _ = schemas("--json")
    (deleted,) = [item for item in items(output) if item["topic"] == DELETED]
    assert code == 0
    assert deleted == {
        "topic": DELETED,
        "class_version": 1,
        "is_current": True,
        "examples": 1,
        "schema": str(PUBLISHED / DELETED / "v1.schema.json"),
    }


def test_what_is_not_published_is_in_the_list_too(schemas: Run, folder: Path):
    (folder / DELETED / "v1.schema.json").unlink()
    _, output, _ = schemas("--folder", folder)
    (line,) = [line for line in output.splitlines() if line.startswith(DELETED)]
    assert line.split(maxsplit=3) == [DELETED, "v1", "current", "not published"]


def test_reading_and_writing_at_once_is_refused(schemas: Run):
    code, output, _ = schemas("--check", "--write")
    assert (code, output) == (2, "")


def test_a_missing_folder_is_named(schemas: Run, tmp_path: Path):
    code, output, said = schemas("--check", "--folder", tmp_path / "nowhere")
    assert (code, output) == (1, "")
    assert "nowhere" in said.replace("\n", "")
    assert "docs/events of a source checkout" in said.replace("\n", " ")
