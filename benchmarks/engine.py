"""Measures the projection engine live: catching up, sharing what is read, rows after commands, and beside a rebuild.

    python benchmarks/engine.py [--only ROW…] [--rounds 5] [--save NAME]

It starts servers of its own with fsync on. What is compared runs in turns, because machines have moods, and a ratio is
the median of the rounds' ratios. A try takes seconds with smaller sizes:

    --rounds 1 --seconds 3 --catch-up-events 5000 --shared-events 2000 --rebuilt-events 20000
"""

import argparse
import json
import logging
import sys
from collections.abc import Callable, Coroutine, Iterator, Mapping
from typing import Any

import uvloop

from benchmarks.appends.database import own_server
from benchmarks.appends.lines import log_to_stderr
from benchmarks.appends.measured import Bench
from benchmarks.engines.beside_rebuild import beside_rebuild
from benchmarks.engines.catch_up import catch_up
from benchmarks.engines.row_times import row_times
from benchmarks.engines.shared_reading import shared_reading
from benchmarks.engines.sizes import Sizes
from benchmarks.record import circumstances, save
from varve.processes import collect_rarely

Row = Callable[[Bench, Sizes], Coroutine[Any, Any, list[dict[str, Any]]]]

_ROWS: dict[str, Row] = {
    "catch-up": catch_up,
    "shared": shared_reading,
    "rows": row_times,
    "rebuild": beside_rebuild,
}


def main() -> None:
    sizes = Sizes()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=_ROWS, default=list(_ROWS), metavar="ROW", help=", ".join(_ROWS))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--catch-up-events", type=int, default=sizes.catch_up_events)
    parser.add_argument("--shared-events", type=int, default=sizes.shared_events)
    parser.add_argument("--rebuilt-events", type=int, default=sizes.rebuilt_events)
    parser.add_argument("--seconds", type=float, default=sizes.seconds, help="for how long commands are sent at a rate")
    parser.add_argument("--save", metavar="NAME", help="keep the figures as benchmarks/results/NAME.json")
    arguments = parser.parse_args()
    sizes = Sizes(arguments.catch_up_events, arguments.shared_events, arguments.rebuilt_events, arguments.seconds)
    print(json.dumps(circumstances()), flush=True)
    collect_rarely()
    log_to_stderr(logging.WARNING)
    with own_server() as server:
        bench = Bench(server, arguments.rounds, arguments.seconds)
        figures = list(measure(bench, sizes, {name: _ROWS[name] for name in arguments.only}))
    if arguments.save:
        print(save(arguments.save, " ".join(["benchmarks/engine.py", *sys.argv[1:]]), figures))


def measure(bench: Bench, sizes: Sizes, rows: Mapping[str, Row]) -> Iterator[dict[str, Any]]:
    """Print and yield every figure of `rows`."""
    for row in rows.values():
        for figure in uvloop.run(row(bench, sizes)):
            print(json.dumps(figure, ensure_ascii=False), flush=True)
            yield figure


if __name__ == "__main__":
    main()
