"""Measures again what the engine, the queries, the search and neighbours have targets for, one after another.

    python benchmarks/targets.py [--only rebuild search]

Each keeps its figures in benchmarks/results. At the end there is a line for each target, and the exit code is 1 when
any was not reached. All of them take two hours and a quarter, most of it `neighbours`.
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from benchmarks.record import RESULTS

_BENCHMARKS = ("rebuild", "engine", "takeover", "search", "asking", "neighbours")
_ENDS_BY_ITS_TARGETS = {"neighbours"}
"""Whose exit code says no more than its figures."""
_LEFT_OUT = {"target", "is_reached", "of", "ratios", "p95s_ms"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=_BENCHMARKS, default=_BENCHMARKS, metavar="BENCHMARK")
    chosen = parser.parse_args().only
    for name in chosen:
        run = [sys.executable, "-P", "-m", f"benchmarks.{name}", "--save", name]
        _results(name).unlink(missing_ok=True)  # no figures are better than those of another run
        subprocess.run(run, check=name not in _ENDS_BY_ITS_TARGETS)
    sys.exit(0 if _shown(chosen) else 1)


def _shown(names: Sequence[str]) -> bool:
    """Print what became of every target, and return whether all were reached."""
    measured = [(name, figure) for name in names for figure in _with_target(name)]
    for name, figure in measured:
        result = ", ".join(f"{key} {value}" for key, value in figure.items() if key not in _LEFT_OUT)
        print(f"{'reached' if figure['is_reached'] else 'MISSED':8} {figure['target']:12} {name}: {result}")
    return all(figure["is_reached"] for _, figure in measured)


def _with_target(name: str) -> Iterator[dict[str, Any]]:
    results = json.loads(_results(name).read_text(encoding="utf-8"))
    yield from (figure for figure in results["figures"] if "target" in figure)


def _results(name: str) -> Path:
    return RESULTS / f"{name}.json"


if __name__ == "__main__":
    main()
