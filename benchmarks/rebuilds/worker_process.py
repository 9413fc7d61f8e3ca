"""A process that runs an engine with one projection, in as many lanes as it is told, and says what memory it took.

It is told the number of lanes and where the database is, on its standard input; each later line asks for the memory.
"""

import asyncio
import os
import resource
import sys

import uvloop

from benchmarks.appends.lines import log_to_stderr
from benchmarks.appends.worker_settings import WorkerSettings
from benchmarks.rebuilds.view import view_in
from eventstore.background import running_beside
from eventstore.log import LogReader
from projections.engine import Engine
from varve.bootstrap import event_types
from varve.pools import open_pool
from varve.processes import collect_rarely

_CONNECTIONS = 6


def main() -> None:
    collect_rarely()
    log_to_stderr()
    lanes = int(sys.stdin.readline())
    uvloop.run(_work(lanes, WorkerSettings.model_validate_json(sys.stdin.readline())))


def owner_of(pid: int) -> str:
    """Return the name under which a process has its lanes."""
    return f"worker {pid}"


async def _work(lanes: int, told: WorkerSettings) -> None:
    settings = told.settings()
    owner = owner_of(os.getpid())
    async with open_pool(settings, "varve_projector", _CONNECTIONS, application_name=owner) as pool:
        engine = Engine(
            [view_in(lanes)],
            pool=pool,
            reader=LogReader(event_types()),
            listen_url=settings.role_url("varve_projector"),
            owner=owner,
        )
        async with running_beside(engine.run()):
            print(flush=True)
            while await asyncio.to_thread(sys.stdin.readline):
                print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024, flush=True)


if __name__ == "__main__":
    main()
