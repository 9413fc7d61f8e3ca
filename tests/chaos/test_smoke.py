"""One fault of each kind under load, from a seed: the full run in small."""

import json
import subprocess
import sys

import pytest

_SEED = 20
_SECONDS = 170
_OPTIONS = ("--seed", str(_SEED), "--kills", "1", "--hostile", "2000", "--hostile-inputs", "5")


@pytest.mark.slow
def test_one_fault_of_each_kind_loses_nothing_and_does_nothing_twice() -> None:
    # A process of its own: it adopts what its killed children leave behind.
    ended = subprocess.run(
        [sys.executable, "-P", "-m", "tests.chaos", *_OPTIONS],
        capture_output=True,
        text=True,
        timeout=_SECONDS,
        check=False,
    )

    assert ended.returncode == 0, ended.stderr
    result = json.loads(ended.stdout)
    assert sum(figures["count"] for figures in result["faults"].values()) == 14
    assert result["load"]["commands_answered"] > 100
    assert result["load"]["hostile_inputs"] == dict.fromkeys(("text", "body", "batch", "file", "search"), 1)
