"""Ingests a folder with `varve ingest` and compares what became of each file with what is expected of it.

    python benchmarks/ingest.py FOLDER [--expected tests/expected_ingest.jsonl]

It starts a Varve of its own in a temporary folder, ingests twice, and ends with 1 when a file's outcome, reason or
number of characters is not as expected, or when the second time uploads anything.
"""

import argparse
import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from varve.settings import Settings
from varve.up import running_system


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--expected", type=Path, default=Path("tests/expected_ingest.jsonl"))
    arguments = parser.parse_args()
    folder = arguments.folder.absolute()
    expected = [json.loads(line) for line in arguments.expected.read_text().splitlines()]
    return asyncio.run(compare(folder, expected))


async def compare(folder: Path, expected: list[dict[str, Any]]) -> int:
    """Return 0 when everything is as expected."""
    with tempfile.TemporaryDirectory(prefix="varve-ingest-") as temporary:
        os.chmod(temporary, 0o711)  # noqa: PTH101, S103 - as root the servers run as another user, who has to pass
        settings = Settings(data_directory=Path(temporary) / ".varve", api_port=0)
        async with running_system(settings) as system:
            environment = {**os.environ, "VARVE_DATA_DIRECTORY": str(settings.data_directory), "VARVE_URL": system.url}
            started = time.monotonic()
            first = await asyncio.to_thread(ingest, folder, environment)
            seconds = time.monotonic() - started
            second = await asyncio.to_thread(ingest, folder, environment)
    problems = [problem for each in expected for problem in differences(each, first.get(each["file"]))]
    problems += [
        f"{name}: uploaded again" for name, report in second.items() if report["outcome"] in {"processed", "refused"}
    ]
    for problem in problems:
        print(problem)
    for name in sorted(first.keys() - {each["file"] for each in expected}):
        print(f"{name}: {first[name]['outcome']}; nothing is expected of it")
    processed = sum(report["outcome"] == "processed" for report in first.values())
    print(f"{len(first)} files, {processed} processed, {seconds:.1f} s, {len(problems)} not as expected")
    return 1 if problems else 0


def ingest(folder: Path, environment: dict[str, str]) -> dict[str, dict[str, Any]]:
    """Return the reports of `varve ingest`, by file name."""
    program = [sys.executable, "-P", "-c", "from varve.cli import main; main()", "ingest", "--json", str(folder)]
    run = subprocess.run(program, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=False)
    reports = (json.loads(line) for line in run.stdout.splitlines())
    return {Path(report["path"]).name: report for report in reports}


def differences(expected: dict[str, Any], report: dict[str, Any] | None) -> list[str]:
    """Say how a report differs from what is expected of its file."""
    name = expected["file"]
    if report is None:
        return [f"{name}: not reported"]
    found = [
        f"{name}: {field} is {report[field]!r}, not {expected[field]!r}"
        for field in ("outcome", "reason")
        if report[field] != expected[field]
    ]
    if expected["outcome"] == "processed" and (report["characters"] or 0) < expected["min_chars"]:
        found.append(f"{name}: {report['characters']} characters, fewer than {expected['min_chars']}")
    return found


if __name__ == "__main__":
    sys.exit(main())
