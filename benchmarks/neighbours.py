"""Measures one tenant's times while another sends the worst that the API allows.

    python benchmarks/neighbours.py [--only KIND…] [--seconds 60] [--pairs 5] [--save NAME]

It starts a whole system. For each kind of load, tenant A sends it for a minute from a process at nice 10, while tenant
B sends commands, queries, searches and documents at a steady, low rate. Then B does the same beside a plain CPU burner:
processes that keep as many cores busy as the system's own did under A, beyond what they need for B alone, measured in
the same pair. The exit code is 1 when a median of the pairs' p95 is more than twice as long beside A as beside the
burner, and longer than is always allowed. A try:

    --seconds 5 --pairs 1
"""

import argparse
import asyncio
import functools
import json
import math
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from statistics import median
from typing import Any

import psycopg
from psycopg import sql

from benchmarks.appends.lines import OtherProcess, log_to_stderr, other_process
from benchmarks.hostile import corpus
from benchmarks.http_load import Connection, Request
from benchmarks.neighbouring.cpu_time import cpu_time
from benchmarks.neighbouring.hostile_process import Address, Order
from benchmarks.neighbouring.kinds import KINDS, LOCKED_MODEL, USER
from benchmarks.neighbouring.neighbour import UPLOADED_AS, Connections, Neighbour, Times
from benchmarks.neighbouring.rates import ALWAYS_ALLOWED_MS, MOST_RATIO, RATES, Measure
from benchmarks.record import circumstances, save
from benchmarks.system import filled, filled_with, own_system
from domain.shared.access import Actor, Role
from varve.bootstrap import token_issuer
from varve.client import open_client
from varve.settings import Settings

_HOSTILE, _BESIDE = "hostile", "beside"
_NEIGHBOUR, _READER = "ned", "rita"
_CORPUS = 200
_HOSTILE_CORPUS = 2_000
_SETTLE_SECONDS = 300.0
_LOOK_SECONDS = 0.2
_AT_REST_SECONDS = 1.0
"""In which an API that has nothing to do tells that it lives."""
_LEAST_PART = 0.02
"""A burner that keeps less of a core busy is none."""

_WORK = """
select (select count(*) from varve.jobs) + (select count(*) from varve.embedding_requests)
     + (select coalesce(max(varve.head() - l.position), 0)
        from varve.lanes l join varve.generations g using (projection, generation) where g.status = 'live')
"""
_TABLES = """
select projection || '_' || generation || '_' || unnest(tables) from varve.generations
where projection = %s and status = 'live'
"""


@dataclass(frozen=True, slots=True)
class Sizes:
    """For how long, how often, and how long at the most until a load is worked off."""

    seconds: float
    pairs: int
    settle_seconds: float


@dataclass
class Pairs:
    """What the pairs of one kind came to."""

    beside_hostile: list[Mapping[Measure, Times]] = field(default_factory=list)
    beside_burner: list[Mapping[Measure, Times]] = field(default_factory=list)
    cores: list[float] = field(default_factory=list)
    settle_seconds: list[float] = field(default_factory=list)
    unsettled: int = 0
    answers: Counter[str] = field(default_factory=Counter)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=KINDS, default=list(KINDS), metavar="KIND", help=", ".join(KINDS))
    parser.add_argument("--seconds", type=float, default=60.0, help="of each kind, and of each burner")
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument(
        "--settle", type=float, default=_SETTLE_SECONDS, help="seconds that the system has to work a load off"
    )
    parser.add_argument("--save", metavar="NAME", help="keep the figures as benchmarks/results/NAME.json")
    arguments = parser.parse_args()
    print(json.dumps(circumstances()), flush=True)
    log_to_stderr()
    sizes = Sizes(arguments.seconds, arguments.pairs, arguments.settle)
    figures = asyncio.run(measure(Settings(embedder="hashing"), sizes, arguments.only))
    for figure in figures:
        print(json.dumps(figure, ensure_ascii=False), flush=True)
    if arguments.save:
        print(save(arguments.save, " ".join(["benchmarks/neighbours.py", *sys.argv[1:]]), figures))
    sys.exit(0 if all(figure.get("is_reached", True) for figure in figures) else 1)


async def measure(settings: Settings, sizes: Sizes, kinds: Sequence[str]) -> list[dict[str, Any]]:
    """Return the figures of all kinds, whose pairs take turns."""
    found = {name: Pairs() for name in kinds}
    async with AsyncExitStack() as stack:
        system = await stack.enter_async_context(own_system(settings))
        hostiles = await stack.enter_async_context(open_client(system, _HOSTILE, USER))
        await filled_with(hostiles, list(corpus(_HOSTILE_CORPUS)))
        neighbours = await stack.enter_async_context(open_client(system, _BESIDE, _NEIGHBOUR))
        entry_ids = await filled(neighbours, _CORPUS)
        beside = await stack.enter_async_context(_neighbour(system, entry_ids))
        address = Address(
            url=_url(system),
            editors_token=_token(system, _HOSTILE, USER, Role.EDITOR),
            readers_token=_token(system, _HOSTILE, _READER, Role.READER),
        )
        hostile = await stack.enter_async_context(
            other_process("benchmarks.neighbouring.hostile_process", address.model_dump_json())
        )
        trial = Trial(system, hostile, beside, sizes)
        await beside.measure(min(5.0, sizes.seconds))  # plans, caches and connections
        alone, _ = await trial.counted({hostile.pid})
        for _ in range(sizes.pairs):
            for name, pairs in found.items():
                await trial.pair(name, pairs, alone)
                print(json.dumps({"row": name, **_cores_of(pairs)}), file=sys.stderr, flush=True)
    return [figure for name, pairs in found.items() for figure in _figures(name, pairs)]


@dataclass(frozen=True)
class Trial:
    """What the pairs are measured with."""

    system: Settings
    hostile: OtherProcess
    beside: Neighbour
    sizes: Sizes

    async def pair(self, name: str, pairs: Pairs, alone: float) -> None:
        """Measure beside A, then beside a burner; `alone` is how many cores the system needs for B."""
        async with _held_model(self.system) if KINDS[name].locks_a_model else _nothing():
            await self.hostile.ask(Order(kind=name, seconds=self.sizes.seconds).model_dump_json())
            cores, times = await self.counted({self.hostile.pid})
            pairs.answers.update(json.loads(await self.hostile.ask("answers")))
        pairs.beside_hostile.append(times)
        await self._settle(pairs)
        size = max(0.0, cores - alone)
        pairs.cores.append(size)
        async with _burner(size):
            pairs.beside_burner.append(await self.beside.measure(self.sizes.seconds))
        await self._settle(pairs)

    async def counted(self, without: set[int]) -> tuple[float, Mapping[Measure, Times]]:
        """Return how many cores the system kept busy for as long as requests were sent, and the neighbour's times."""
        measuring = asyncio.create_task(self.beside.measure(self.sizes.seconds))
        async with cpu_time(without) as counted:
            await asyncio.sleep(self.sizes.seconds)
        return counted.seconds / self.sizes.seconds, await measuring

    async def _settle(self, pairs: Pairs) -> None:
        """Wait until nothing is left to do, so that no side pays for the other's load."""
        began = time.monotonic()
        while time.monotonic() - began < self.sizes.settle_seconds:
            with suppress(psycopg.OperationalError):
                if await _work(self.system) == 0 and await _answers(self.system):
                    pairs.settle_seconds.append(time.monotonic() - began)
                    return
            await asyncio.sleep(_LOOK_SECONDS)
        pairs.unsettled += 1


async def _work(system: Settings) -> int:
    """Return how much is left to do: jobs, vectors to be made, and events that a lane is behind."""
    async with await psycopg.AsyncConnection.connect(system.required_database_url(), autocommit=True) as admin:
        (work,) = await (await admin.execute(_WORK)).fetchone() or (0,)
        return int(work)


async def _answers(system: Settings) -> bool:
    """Whether the API is done with the requests it was sent, whose clients may have given up."""
    try:
        async with asyncio.timeout(_AT_REST_SECONDS):
            connection = await Connection.open(_url(system))
            await connection.send(Request("GET", "/health/live"))
            connection.close()
    except (TimeoutError, OSError, EOFError):
        return False
    return True


@asynccontextmanager
async def _held_model(system: Settings) -> AsyncIterator[None]:
    """Hold the tables of `LOCKED_MODEL` as an operator's session does that alters them, and forgets to commit."""
    async with await psycopg.AsyncConnection.connect(system.required_database_url()) as operator:
        for (table,) in await (await operator.execute(_TABLES, (LOCKED_MODEL,))).fetchall():
            await operator.execute(sql.SQL("lock table {}").format(sql.Identifier("read_models", table)))
        yield
        await operator.rollback()


@asynccontextmanager
async def _nothing() -> AsyncIterator[None]:
    yield


@asynccontextmanager
async def _burner(cores: float) -> AsyncIterator[None]:
    """Keep so many cores busy, each process the same part of one."""
    processes = math.ceil(cores) if cores >= _LEAST_PART else 0
    async with AsyncExitStack() as stack:
        for _ in range(processes):
            part = str(cores / processes)
            await stack.enter_async_context(other_process("benchmarks.neighbouring.burner_process", part))
        yield


@asynccontextmanager
async def _neighbour(system: Settings, entry_ids: Sequence[str]) -> AsyncIterator[Neighbour]:
    connect = functools.partial(Connection.open, _url(system), _token(system, _BESIDE, _NEIGHBOUR, Role.EDITOR))
    connections, uploads = Connections(connect), Connections(functools.partial(connect, UPLOADED_AS))
    try:
        yield Neighbour(connections, uploads, entry_ids)
    finally:
        connections.close()
        uploads.close()


def _url(system: Settings) -> str:
    return f"http://{system.api_host}:{system.api_port}"


def _token(system: Settings, tenant: str, user: str, role: Role) -> str:
    actor = Actor(tenant=tenant, user=user, roles=frozenset({role}))
    return token_issuer(system).issue(actor, timedelta(hours=12))


def _figures(name: str, pairs: Pairs) -> list[dict[str, Any]]:
    load = {"row": name, "what": "A's load", **_cores_of(pairs), "answers": dict(sorted(pairs.answers.items()))}
    return [load, *(figure_of(name, of, pairs) for of in RATES)]


def _cores_of(pairs: Pairs) -> dict[str, Any]:
    """Return how large the burner was, and how long it took until the load was worked off."""
    return {
        "burner_cores": [round(each, 2) for each in pairs.cores],
        "settle_seconds_max": round(max(pairs.settle_seconds, default=0.0), 1),
        "unsettled": pairs.unsettled,
    }


def figure_of(name: str, of: Measure, pairs: Pairs) -> dict[str, Any]:
    """Return how B's times beside A compare with those beside the burner, and whether that was to be.

    Where a load was not worked off, the burner's times are not of the burner alone: nothing is reached then.
    """
    hostile = [times[of].p95 for times in pairs.beside_hostile]
    burner = [times[of].p95 for times in pairs.beside_burner]
    found: dict[str, Any] = {
        "row": name,
        "what": of,
        "beside_a_p95_ms": round(median(hostile), 1),
        "beside_burner_p95_ms": round(median(burner), 1),
        "ratio": round(median(hostile) / median(burner), 2),
        "failed": sum(times[of].failed for times in pairs.beside_hostile),
        "p95s_ms": [[round(a, 1), round(b, 1)] for a, b in zip(hostile, burner, strict=True)],
    }
    if of in ALWAYS_ALLOWED_MS:
        allowed = max(MOST_RATIO * median(burner), ALWAYS_ALLOWED_MS[of])
        found["target"] = f"≤ {MOST_RATIO:g} or {ALWAYS_ALLOWED_MS[of]:g} ms"
        found["is_reached"] = median(hostile) <= allowed and pairs.unsettled == 0
    return found


if __name__ == "__main__":
    main()
