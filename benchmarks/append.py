"""Measures the log's appends and reads, each beside what it should be compared with.

    python benchmarks/append.py [--only ROW…] [--rounds 5] [--seconds 2] [--save NAME]

It starts a PostgreSQL of its own with fsync on. What is compared runs in turns, because machines have moods, and a
ratio is the median of the rounds' ratios. Callers, server and whatever else the machine does share the cores.

    python benchmarks/append.py --large [--minutes 10] [--save NAME]

fills a log with ten million events, which takes many minutes and tens of gigabytes, and appends to it.
"""

import argparse
import functools
import json
import sys
from collections.abc import Callable, Coroutine, Iterator, Mapping
from typing import Any

import uvloop

from benchmarks.appends import conditions, large, loading, processes, reading, throughput, waking
from benchmarks.appends.database import own_server
from benchmarks.appends.measured import Bench
from benchmarks.record import circumstances, save
from varve.processes import collect_rarely

Row = Callable[[Bench], Coroutine[Any, Any, list[dict[str, Any]]]]

_ROWS: dict[str, Row] = {
    "many": throughput.many_callers,
    "one": throughput.one_caller,
    "ten": throughput.ten_events,
    "processes": processes.several_processes,
    "boundary": conditions.boundary,
    "counter": conditions.counter,
    "load": loading.loading,
    "wake": waking.waking,
    "read": reading.reading,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=_ROWS, default=list(_ROWS), metavar="ROW", help=", ".join(_ROWS))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.0, help="how long each contender runs in each round")
    parser.add_argument("--large", action="store_true", help="measure a large log instead of the rows")
    parser.add_argument("--large-events", type=int, default=10_000_000)
    parser.add_argument("--small-events", type=int, default=100_000)
    parser.add_argument("--minutes", type=float, default=10.0, help="how long the large log is appended to")
    parser.add_argument("--save", metavar="NAME", help="keep the figures as benchmarks/results/NAME.json")
    arguments = parser.parse_args()
    chosen = {name: _ROWS[name] for name in arguments.only}
    if arguments.large:
        sizes = large.Sizes(arguments.large_events, arguments.small_events, arguments.minutes)
        chosen = {"large": functools.partial(large.large, sizes=sizes)}
    print(json.dumps(circumstances()), flush=True)
    collect_rarely()
    with own_server(large.TUNING if arguments.large else None) as server:
        figures = list(measure(Bench(server, arguments.rounds, arguments.seconds), chosen))
    if arguments.save:
        print(save(arguments.save, " ".join(["benchmarks/append.py", *sys.argv[1:]]), figures))


def measure(bench: Bench, rows: Mapping[str, Row]) -> Iterator[dict[str, Any]]:
    """Print and yield every figure of `rows`."""
    for row in rows.values():
        for figure in uvloop.run(row(bench)):
            print(json.dumps(figure, ensure_ascii=False), flush=True)
            yield figure


if __name__ == "__main__":
    main()
