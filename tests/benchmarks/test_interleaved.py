"""Two checkouts are compared by figures that both print, and only what is ours and slower counts."""

import json
import sys

import pytest

from benchmarks import interleaved


@pytest.fixture
def checkout(tmp_path):
    """Make a folder whose Python prints these figures, whatever it is to run."""

    def make(name, *figures):
        program = tmp_path / name / ".venv" / "bin" / "python"
        program.parent.mkdir(parents=True)
        lines = "\n".join(json.dumps(figure) for figure in ({"commit": name}, *figures))
        program.write_text(f"#!/bin/sh\necho started\ncat <<'END'\n{lines}\nEND\n")
        program.chmod(0o700)
        return tmp_path / name

    return make


def _figure(what, **values):
    return {"row": "32 callers", "what": what, **values}


def test_a_ratio_above_one_is_slower_for_rates_and_for_times(checkout):
    before = checkout("before", _figure("bare", per_second=200, p50_ms=10), _figure("gone", per_second=1))
    after = checkout("after", _figure("bare", per_second=100, p50_ms=15), _figure("new", per_second=1))

    found = interleaved.compared("append", (before, after), 3)

    name = "append: 32 callers bare"
    assert found == {(name, "p50_ms"): [1.5] * 3, (name, "per_second"): [2.0] * 3}


@pytest.mark.parametrize(
    ("what", "per_second", "code"), [("bare", 96, 0), ("bare", 94, 1), ("pgbench, bare", 50, 0), ("stock", 50, 0)]
)
def test_only_our_own_figures_decide_the_exit_code(checkout, monkeypatch, what, per_second, code):
    before, after = (
        checkout("before", _figure(what, per_second=100)),
        checkout("after", _figure(what, per_second=per_second)),
    )
    monkeypatch.setattr(sys, "argv", ["interleaved.py", str(before), str(after), "--only", "append", "--rounds", "1"])

    with pytest.raises(SystemExit) as ended:
        interleaved.main()

    assert ended.value.code == code
