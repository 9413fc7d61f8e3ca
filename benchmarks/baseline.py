"""Measures commands and queries per second through the HTTP API, and how soon a command's row can be read.

    python benchmarks/baseline.py [--runs 3] [--seconds 3] [--embedder minilm] [--save NAME]

It starts a Varve of its own, with the hashing embedder unless told otherwise, and beside it a bare FastAPI route; they
are measured in turns, because machines have moods. Client, server, workers and database share the cores. Every figure
is the median of the runs; a line of JSON each.
"""

import argparse
import asyncio
import functools
import itertools
import json
import sys
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from statistics import median
from typing import Any
from urllib.parse import quote

from benchmarks.bare_route import bare_route
from benchmarks.corpus import made_up_entries
from benchmarks.http_load import Connection, Load, Reply, Request, closed_loop, open_loop
from benchmarks.metrics import percentile
from benchmarks.record import circumstances, save
from benchmarks.row_latency import watching
from benchmarks.system import filled, own_system, settled
from domain.shared.access import Actor, Role
from varve.bootstrap import token_issuer
from varve.client import ApiClient, open_client
from varve.settings import Settings

_READS, _WRITES, _USER = "reads", "writes", "benchmark"
_CORPUS = 2_000
_QUESTIONS = 500
_RATES = ((1.0, 20.0), (100.0, 10.0))  # commands per second, and for how many seconds
_SATURATION = 32
_ROW_SECONDS = 300.0

Connect = Callable[[], Awaitable[Connection]]


@dataclass(frozen=True, slots=True)
class Case:
    """One kind of request, sent over `concurrency` connections."""

    name: str
    concurrency: int
    connect: Connect
    make: Callable[[int], Request]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=3.0, help="how long each kind of request is sent in each run")
    parser.add_argument("--embedder", choices=("hashing", "minilm"), default="hashing")
    parser.add_argument("--save", metavar="NAME", help="keep the figures as benchmarks/results/NAME.json")
    arguments = parser.parse_args()
    print(json.dumps(circumstances()), flush=True)
    figures = asyncio.run(measure(arguments.runs, arguments.seconds, Settings(embedder=arguments.embedder)))
    if arguments.save:
        print(save(arguments.save, " ".join(["benchmarks/baseline.py", *sys.argv[1:]]), figures))


async def measure(runs: int, seconds: float, settings: Settings) -> list[dict[str, Any]]:
    """Print and return every figure."""
    figures: list[dict[str, Any]] = []
    async with (
        bare_route() as bare_url,
        own_system(settings) as system,
        open_client(system, _READS, _USER) as reads,
        open_client(system, _WRITES, _USER) as writes,
    ):
        entry_ids = await filled(reads, _CORPUS)
        cases = list(_cases(bare_url, system, entry_ids))
        loads: dict[Case, list[Load]] = {case: [] for case in cases}
        for _ in range(runs):
            for case in cases:
                load = await closed_loop(case.connect, case.make, concurrency=case.concurrency, seconds=seconds)
                loads[case].append(load)
                await settled(writes)
        figures += (_throughput(case, loads[case]) | {"embedder": system.embedder} for case in cases)
        for rate, duration in (*_RATES, (None, seconds)):
            measured = [await _rows(system, writes, rate, duration) for _ in range(runs)]
            figures.append(_row_latency(rate, measured) | {"embedder": system.embedder})
    for figure in figures:
        print(json.dumps(figure), flush=True)
    return figures


def _cases(bare_url: str, system: Settings, entry_ids: Sequence[str]) -> Iterator[Case]:
    bare = functools.partial(Connection.open, bare_url)
    reads, writes = _connect(system, _READS), _connect(system, _WRITES)
    questions = [entry["name"] for entry in itertools.islice(made_up_entries(seed=2), _QUESTIONS)]

    def get(number: int) -> Request:
        return Request("GET", f"/api/v1/entries/{entry_ids[number % len(entry_ids)]}")

    def search(number: int) -> Request:
        return Request("GET", f"/api/v1/search?limit=10&q={quote(questions[number % len(questions)])}")

    for concurrency in (1, 8):
        yield Case("bare FastAPI route", concurrency, bare, lambda _: Request("GET", "/"))
        yield Case("get an entry", concurrency, reads, get)
        yield Case("list 20 entries", concurrency, reads, lambda _: Request("GET", "/api/v1/entries?limit=20"))
        yield Case("hybrid search, 10 hits", concurrency, reads, search)
    for concurrency in (1, 8, _SATURATION):
        yield Case("create an entry", concurrency, writes, _creations(seed=3 + concurrency))


def _creations(seed: int) -> Callable[[int], Request]:
    entries = made_up_entries(seed)
    return lambda _: Request("POST", "/api/v1/entries", json.dumps(next(entries)).encode())


def _connect(system: Settings, tenant: str) -> Connect:
    actor = Actor(tenant=tenant, user=_USER, roles=frozenset({Role.EDITOR}))
    token = token_issuer(system).issue(actor, timedelta(hours=1))
    return functools.partial(Connection.open, f"http://{system.api_host}:{system.api_port}", token)


async def _rows(system: Settings, client: ApiClient, rate: float | None, seconds: float) -> tuple[float, list[float]]:
    """Create entries at `rate` per second, or as many as go; return how many did, and each row's milliseconds."""
    answered: list[tuple[float, int]] = []

    def note(reply: Reply) -> None:
        position = json.loads(reply.body)["position"]
        answered.append((time.perf_counter(), int(position.rpartition("-")[2])))

    connect, make = _connect(system, _WRITES), _creations(seed=int(rate or 0))
    async with watching("knowledge_entry_list", system.role_url("varve_reader")) as watch:
        if rate is None:
            load = await closed_loop(connect, make, concurrency=_SATURATION, seconds=seconds, on_reply=note)
        else:
            load = await open_loop(connect, make, per_second=rate, seconds=seconds, on_reply=note)
        async with asyncio.timeout(_ROW_SECONDS):
            await watch.until(max(position for _, position in answered))
        milliseconds = watch.milliseconds(answered)
    await settled(client)
    return load.per_second, milliseconds


def _throughput(case: Case, loads: Sequence[Load]) -> dict[str, Any]:
    return {
        "what": case.name,
        "concurrency": case.concurrency,
        "per_second": round(median(load.per_second for load in loads), 1),
        "p50_ms": round(median(percentile(load.milliseconds, 50) for load in loads), 2),
        "p99_ms": round(median(percentile(load.milliseconds, 99) for load in loads), 2),
        "runs_per_second": [round(load.per_second, 1) for load in loads],
    }


def _row_latency(rate: float | None, measured: Sequence[tuple[float, Sequence[float]]]) -> dict[str, Any]:
    return {
        "what": "from a command's answer to its row",
        "load": f"{_SATURATION} connections, as many as go" if rate is None else f"{rate:g}/s",
        "per_second": round(median(per_second for per_second, _ in measured), 1),
        "p50_ms": round(median(percentile(times, 50) for _, times in measured), 2),
        "p99_ms": round(median(percentile(times, 99) for _, times in measured), 2),
        "rows": sum(len(times) for _, times in measured),
    }


if __name__ == "__main__":
    main()
