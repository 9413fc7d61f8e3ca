"""Keeps the figures of a run with what they depend on: commit, machine and date."""

import json
import os
import platform
import subprocess
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

_PROJECT = Path(__file__).resolve().parents[1]
RESULTS = _PROJECT / "benchmarks" / "results"


def save(name: str, command: str, figures: Sequence[dict[str, Any]]) -> Path:
    """Write ``results/<name>.json``, one line for each of `figures`, and return its path."""
    heading = {"command": command, **circumstances()}
    lines = ",\n".join(f"    {json.dumps(each, ensure_ascii=False)}" for each in figures)
    fields = "".join(f"  {json.dumps(key)}: {json.dumps(value)},\n" for key, value in heading.items())
    path = RESULTS / f"{name}.json"
    path.write_text(f'{{\n{fields}  "figures": [\n{lines}\n  ]\n}}\n', encoding="utf-8")
    return path


def circumstances() -> dict[str, Any]:
    """Return what every figure depends on; a commit with changes on top of it ends with ``+``."""
    return {
        "commit": _git("rev-parse", "--short=12", "HEAD") + ("+" if _git("status", "--porcelain") else ""),
        "date": datetime.now(UTC).date().isoformat(),
        "cores": os.cpu_count(),
        "machine": platform.machine(),
        "python": platform.python_version(),
    }


def _git(*arguments: str) -> str:
    program = ["git", "-C", str(_PROJECT), *arguments]  # whichever Git is on the path
    return subprocess.run(program, capture_output=True, text=True, check=False).stdout.strip()
