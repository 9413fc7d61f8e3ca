"""Measures queries through the API, cached and not, beside FastAPI routes that do the least for the same answer.

    python benchmarks/asking.py [--rounds 5] [--seconds 3] [--save NAME]

It starts a Varve of its own, with the hashing embedder, and the two references; each is asked in turns with what it is
compared with, over eight connections, and over one.
"""

import argparse
import asyncio
import functools
import json
import sys
import tempfile
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from statistics import median
from typing import Any

import psycopg

from benchmarks.http_load import Connection, Load, Request, closed_loop
from benchmarks.reading.servers import serving
from benchmarks.record import circumstances, save
from benchmarks.system import filled, own_system
from domain.shared.access import Actor, Role
from varve.bootstrap import token_issuer
from varve.client import open_client
from varve.settings import Settings

_TENANT, _USER = "reads", "benchmark"
_ENTRIES = 15_000
_MODEL = "knowledge_entry_list"
_LEAST = {"cached": 0.75, "uncached": 0.8}
_SCANS = "select seq_scan + coalesce(idx_scan, 0) from pg_stat_user_tables where schemaname || '.' || relname = %s"

Connect = Callable[[], Awaitable[Connection]]
Send = tuple[Connect, Callable[[int], Request]]


@dataclass(frozen=True, slots=True)
class Pair:
    """What is compared; `subject` is given the round's number."""

    what: str
    subject: Callable[[int], Send]
    reference: Send


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3.0, help="of each kind of request in each round")
    parser.add_argument("--save", metavar="NAME", help="keep the figures as benchmarks/results/NAME.json")
    arguments = parser.parse_args()
    print(json.dumps(circumstances()), flush=True)
    figures = asyncio.run(measure(arguments.rounds, arguments.seconds))
    for figure in figures:
        print(json.dumps(figure), flush=True)
    if arguments.save:
        print(save(arguments.save, " ".join(["benchmarks/asking.py", *sys.argv[1:]]), figures))


async def measure(rounds: int, seconds: float) -> list[dict[str, Any]]:
    """Return every figure."""
    settings = Settings(embedder="hashing", log_level="warning")
    async with own_system(settings) as system, open_client(system, _TENANT, _USER) as client:
        ids = await filled(client, _ENTRIES)
        table = f"read_models.{_MODEL}_1_entries"
        issuer = token_issuer(system)

        def connect_as(user: str) -> Connect:
            actor = Actor(tenant=_TENANT, user=user, roles=frozenset({Role.EDITOR}))
            token = issuer.issue(actor, timedelta(hours=1))
            return functools.partial(Connection.open, f"http://{system.api_host}:{system.api_port}", token)

        body = json.dumps(await client.get(f"/entries/{ids[0]}"), separators=(",", ":")).encode()
        with _file_of(body) as path:
            async with (
                serving("bytes", str(path)) as bytes_url,
                serving("query", system.role_url("varve_admin"), table) as query_url,
            ):
                bare = functools.partial(Connection.open, bytes_url)
                query = functools.partial(Connection.open, query_url)

                def same(_: int) -> Request:
                    return Request("GET", f"/api/v1/entries/{ids[0]}")

                def each(prefix: str) -> Callable[[int], Request]:
                    return lambda number: Request("GET", f"{prefix}{ids[number % len(ids)]}")

                # Nobody asks twice in a round, and each round has a user of its own: nothing is in the cache.
                cached = Pair("cached", lambda _: (connect_as(_USER), same), (bare, same))
                uncached = Pair(
                    "uncached",
                    lambda number: (connect_as(f"{_USER}-{number}"), each("/api/v1/entries/")),
                    (query, each(f"/{_TENANT}/")),
                )
                scans = functools.partial(_scans, system.role_url("varve_admin"), table)
                return [
                    await _compare(pair, connections, rounds, seconds, scans)
                    for pair in (cached, uncached)
                    for connections in (8, 1)
                ]


async def _compare(
    pair: Pair, connections: int, rounds: int, seconds: float, scans: Callable[[], Awaitable[int]]
) -> dict[str, Any]:
    subject: list[Load] = []
    reference: list[Load] = []
    scanned = 0
    for number in range(rounds):
        for side in sorted(("reference", "subject"), reverse=bool(number % 2)):
            connect, make = pair.reference if side == "reference" else pair.subject(connections * 1000 + number)
            before = await scans()
            load = await closed_loop(connect, make, concurrency=connections, seconds=seconds)
            if side == "subject":
                subject.append(load)
                scanned += await scans() - before
            else:
                reference.append(load)
    ratios = [one.per_second / other.per_second for one, other in zip(subject, reference, strict=True)]
    return {
        "what": f"{pair.what} point query",
        "connections": connections,
        "per_second": round(median(load.per_second for load in subject)),
        "reference_per_second": round(median(load.per_second for load in reference)),
        "ratio": round(median(ratios), 3),
        "target": f">= {_LEAST[pair.what]}",
        "is_reached": median(ratios) >= _LEAST[pair.what],
        "p99_ms": round(median(load.at(99) for load in subject), 2),
        "reference_p99_ms": round(median(load.at(99) for load in reference), 2),
        "answers": sum(len(load.milliseconds) for load in subject),
        "scans_of_the_table": scanned,
        "ratios": [round(ratio, 3) for ratio in ratios],
    }


@contextmanager
def _file_of(content: bytes) -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "body.json")
        path.write_bytes(content)
        yield path


async def _scans(url: str, table: str) -> int:
    """Return how often the table was read so far; servers tell it within a second."""
    await asyncio.sleep(1.5)
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
        row = await (await connection.execute(_SCANS, (table,))).fetchone()
    return int(row[0]) if row else 0


if __name__ == "__main__":
    main()
