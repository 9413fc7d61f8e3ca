"""Measures how long a worker's lanes stand still when it is killed, hangs or loses the network.

    python benchmarks/takeover.py [--rounds 5] [--save NAME]

It starts a PostgreSQL of its own and two workers that share four lanes of KnowledgeEntryListView, to which 20 entries a
second are appended. One of the workers then dies by SIGKILL, hangs by SIGSTOP, or nothing of what it and the server say
arrives any more, and neither is told so. The time ends when the other worker has every lane, and each of them is past
what was appended before the fault.
"""

import argparse
import asyncio
import json
import os
import signal
import sys
import time
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import dataclass
from statistics import median
from typing import Any

import psycopg
from pydantic import SecretStr

from benchmarks.appends.database import own_server
from benchmarks.appends.lines import OtherProcess, other_process
from benchmarks.appends.made_up import METADATA, TENANT, MadeUp, new_id
from benchmarks.appends.worker_settings import WorkerSettings
from benchmarks.rebuilds.worker_process import owner_of
from benchmarks.record import circumstances, save
from benchmarks.takeovers.network import Network, open_network
from eventstore.background import running_beside
from eventstore.batch_appender import BatchAppender, open_batch_appender
from eventstore.mapper import encode
from eventstore.prepare import prepare_rows
from eventstore.rows import EventRow
from varve.settings import Settings

_LANES = 4
_APPEND_SECONDS = 0.05
_LOOK_SECONDS = 0.01
_MOST_SECONDS = 5.0

_SHARED = """
select count(*) = %(lanes)s and bool_and(leased_until > clock_timestamp())
       and count(*) filter (where owner = %(victim)s) = %(lanes)s / 2
from varve.lanes where owner = any (%(workers)s)
"""
_TAKEN_OVER = """
select count(*) = %(lanes)s and bool_and(position > %(head)s) from varve.lanes
where owner = %(survivor)s and leased_until > clock_timestamp()
"""


@dataclass(frozen=True, slots=True)
class Fault:
    """What happens to a worker, and what lets its process be ended afterwards."""

    name: str
    begin: Callable[[OtherProcess, Network], None]
    end: Callable[[OtherProcess, Network], None] = lambda _process, _network: None


_FAULTS = (
    Fault("killed", lambda process, _: os.kill(process.pid, signal.SIGKILL)),
    Fault(
        "hung",
        lambda process, _: os.kill(process.pid, signal.SIGSTOP),
        lambda process, _: os.kill(process.pid, signal.SIGCONT),
    ),
    Fault("network lost", lambda _, network: network.lose(), lambda _, network: network.mend()),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--save", metavar="NAME", help="keep the figures as benchmarks/results/NAME.json")
    arguments = parser.parse_args()
    print(json.dumps(circumstances()), flush=True)
    with own_server() as server, server.database() as settings:
        figures = asyncio.run(measure(settings, arguments.rounds))
    if arguments.save:
        print(save(arguments.save, " ".join(["benchmarks/takeover.py", *sys.argv[1:]]), figures))


async def measure(settings: Settings, rounds: int) -> list[dict[str, Any]]:
    async with AsyncExitStack() as stack:
        batches = await stack.enter_async_context(open_batch_appender(settings.role_url("varve_writer")))
        admin = await psycopg.AsyncConnection.connect(settings.required_database_url(), autocommit=True)
        await stack.enter_async_context(admin)
        survivor = await stack.enter_async_context(_worker(settings))
        await stack.enter_async_context(running_beside(_append_on(batches)))
        times: dict[str, list[float]] = {fault.name: [] for fault in _FAULTS}
        for _ in range(rounds):
            for fault in _FAULTS:
                times[fault.name].append(await _takeover(settings, admin, fault, survivor))
        return [_figure(name, seconds) for name, seconds in times.items()]


async def _takeover(
    settings: Settings, admin: psycopg.AsyncConnection[Any], fault: Fault, survivor: OtherProcess
) -> float:
    """Return the seconds from a fault of a new worker until the `survivor` has done its work."""
    database_url = settings.required_database_url()
    async with open_network(database_url) as network:
        by_network = settings.model_copy(update={"database_url": SecretStr(network.url(database_url))})
        async with _worker(by_network) as victim:
            names = {
                "victim": owner_of(victim.pid),
                "survivor": owner_of(survivor.pid),
                "workers": [owner_of(victim.pid), owner_of(survivor.pid)],
            }
            await _until(admin, _SHARED, names)
            fault.begin(victim, network)
            began = time.perf_counter()
            ((head,),) = await (await admin.execute("select varve.head()")).fetchall()
            await _until(admin, _TAKEN_OVER, {"survivor": owner_of(survivor.pid), "head": head})
            seconds = time.perf_counter() - began
            fault.end(victim, network)
    return seconds


def _worker(settings: Settings) -> AbstractAsyncContextManager[OtherProcess]:
    told = f"{_LANES}\n{WorkerSettings.of(settings).model_dump_json()}"
    return other_process("benchmarks.rebuilds.worker_process", told)


async def _until(admin: psycopg.AsyncConnection[Any], question: str, parameters: dict[str, Any]) -> None:
    parameters = parameters | {"lanes": _LANES}
    while await (await admin.execute(question, parameters)).fetchone() != (True,):  # noqa: ASYNC110 - a database
        await asyncio.sleep(_LOOK_SECONDS)


async def _append_on(batches: BatchAppender) -> None:
    made_up = MadeUp()
    while True:
        entry_id = new_id()
        event = made_up.created(entry_id, ("clay",))
        rows = [EventRow(f"entry-{entry_id}", 1, event.TOPIC, event.class_version, encode(event))]
        await batches.append(prepare_rows(TENANT, new_id(), rows, METADATA))
        await asyncio.sleep(_APPEND_SECONDS)


def _figure(name: str, seconds: list[float]) -> dict[str, Any]:
    figure = {
        "row": "takeover",
        "what": name,
        "seconds": [round(each, 2) for each in seconds],
        "median": round(median(seconds), 2),
        "most": round(max(seconds), 2),
        "target": f"≤ {_MOST_SECONDS:g}",
        "is_reached": max(seconds) <= _MOST_SECONDS,
    }
    print(json.dumps(figure, ensure_ascii=False), flush=True)
    return figure


if __name__ == "__main__":
    main()
