"""Compares two checkouts on one machine and one day: their benchmarks run in turns, one round of each at a time.

    python benchmarks/interleaved.py BEFORE AFTER [--only PART…] [--rounds 5]

BEFORE and AFTER are folders of clones, each with a `.venv` of its own; nothing else should run on the machine. Of every
figure that both print, the median of the rounds' ratios is shown: how many times as long AFTER takes as BEFORE, so that
more than 1 is slower. The exit code is 1 when a median is above 1.05. Figures of others' programs are shown as well:
they should be at 1, and tell how much the machine's mood is worth.
"""

import argparse
import json
import os
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

_MOST_RATIO = 1.05
_PARTS: Mapping[str, Sequence[str]] = {
    "append": ("append", "--only", "many", "one", "ten", "processes", "boundary", "counter", "load", "read"),
    "catch-up": ("engine", "--only", "catch-up"),
    "rows": ("engine", "--only", "rows"),
    "rebuild": ("rebuild", "--events", "300000"),
    "asking": ("asking",),
    "search": ("search", "--chunks", "10000"),
    "takeover": ("takeover",),
}
_NAMED_BY = ("row", "what", "tenant", "tag", "connections")
_RATES = frozenset({"per_second"})
_TIMES = frozenset({"p50_ms", "p99_ms", "median"})
_UNJUDGED = frozenset({"p99_ms"})
"""What single rounds are too short for."""
_OF_OTHERS = ("commits/s", "stock", "pgbench", "SQL", "the library's", "select and orjson")

Figure = tuple[str, str]
"""The part and what is measured, and the field."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("before", type=Path)
    parser.add_argument("after", type=Path)
    parser.add_argument(
        "--only", nargs="+", choices=_PARTS, default=list(_PARTS), metavar="PART", help=", ".join(_PARTS)
    )
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    sides = (arguments.before.resolve(), arguments.after.resolve())
    is_slower = False
    for part in arguments.only:
        for name, ratios in compared(part, sides, arguments.rounds).items():
            is_slower |= _shown(name, ratios)
    sys.exit(1 if is_slower else 0)


def compared(part: str, sides: tuple[Path, Path], rounds: int) -> Mapping[Figure, list[float]]:
    """Return for each figure how many times as long the second side took, in each round."""
    ratios: defaultdict[Figure, list[float]] = defaultdict(list)
    for number in range(rounds):
        order = sides if number % 2 == 0 else sides[::-1]
        found = {side: dict(_run(part, side)) for side in order}
        before, after = (found[side] for side in sides)
        for name in before.keys() & after.keys():
            is_rate = name[1] in _RATES
            if before[name] and after[name]:
                ratios[name].append(before[name] / after[name] if is_rate else after[name] / before[name])
    return dict(sorted(ratios.items()))


def _run(part: str, folder: Path) -> Iterator[tuple[Figure, float]]:
    """Run one round of a part in a checkout, and yield the figures that it prints."""
    module, *options = _PARTS[part]
    program = [str(folder / ".venv/bin/python"), "-P", "-m", f"benchmarks.{module}", *options, "--rounds", "1"]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("VARVE_")}
    ran = subprocess.run(program, cwd=folder, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    for line in ran.stdout.splitlines():
        if line.startswith("{"):
            yield from _figures(part, json.loads(line))


def _figures(part: str, printed: Mapping[str, Any]) -> Iterator[tuple[Figure, float]]:
    name = " ".join(str(printed[field]) for field in _NAMED_BY if printed.get(field) is not None)
    for field in (_RATES | _TIMES) & printed.keys():
        yield (f"{part}: {name}", field), float(printed[field])


def _shown(figure: Figure, ratios: Sequence[float]) -> bool:
    """Print how a figure compares, and return whether it is slower than it may be."""
    name, field = figure
    ratio = median(ratios)
    is_judged = field not in _UNJUDGED and not any(other in name for other in _OF_OTHERS)
    is_slower = is_judged and ratio > _MOST_RATIO
    verdict = "SLOWER" if is_slower else "ok" if is_judged else "-"
    print(f"{verdict:7}{ratio:6.3f}  {name}, {field}  {[round(each, 3) for each in ratios]}", flush=True)
    return is_slower


if __name__ == "__main__":
    main()
