"""A process that runs an engine with many small projections, and says how much of the log it has read and decoded.

It is told how many projections, in how many lanes each, and where the database is, on its standard input; each later
line asks for the numbers.
"""

import asyncio
import json
import os
import sys
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

import psycopg
import uvloop

from benchmarks.appends.lines import log_to_stderr
from benchmarks.appends.worker_settings import WorkerSettings
from domain.knowledge.events import KnowledgeEntryCreated
from domain.shared.events import Event
from eventstore.background import running_beside
from eventstore.log import FetchedRows, LogReader, Window
from eventstore.log_filter import EVERYTHING, LogFilter
from eventstore.records import RecordedEvent
from projections.appended import AppendingProjection
from projections.engine import Engine
from varve.bootstrap import PROJECTOR_CONNECTIONS, event_types
from varve.pools import open_pool
from varve.processes import collect_rarely


class CountingReader(LogReader):
    """Counts what it reads and decodes."""

    windows = rows = decoded = 0

    async def fetch(
        self, connection: psycopg.AsyncConnection[Any], after: int, limit: int, wanted: LogFilter = EVERYTHING
    ) -> FetchedRows:
        fetched = await super().fetch(connection, after, limit, wanted)
        self.windows += 1
        self.rows += len(fetched.rows)
        return fetched

    async def decode(self, fetched: FetchedRows) -> Window:
        window = await super().decode(fetched)
        self.decoded += len(window.events)
        return window


def small(number: int, lanes: int) -> AppendingProjection:
    """Return a projection of one type of event, a tenth of the log."""

    class Small(AppendingProjection):
        NAME: ClassVar[str] = f"small_{number}"
        EVENTS: ClassVar[frozenset[type[Event]]] = frozenset({KnowledgeEntryCreated})
        TABLES: ClassVar[tuple[str, ...]] = ("names",)
        DDL: ClassVar[str] = (
            "create table {names} (tenant text, position bigint, name text not null, primary key (tenant, position))"
        )
        LANES: ClassVar[int] = lanes
        MAIN: ClassVar[str] = "names"
        COLUMNS: ClassVar[tuple[str, ...]] = ("tenant", "position", "name")

        def rows(self, recorded: RecordedEvent) -> Iterable[Mapping[str, Any]]:
            assert isinstance(recorded.event, KnowledgeEntryCreated)
            yield {"tenant": recorded.tenant, "position": recorded.position, "name": recorded.event.name}

    return Small()


def main() -> None:
    collect_rarely()
    log_to_stderr()
    projections, lanes = map(int, sys.stdin.readline().split())
    told = WorkerSettings.model_validate_json(sys.stdin.readline())
    uvloop.run(_work([small(number, lanes) for number in range(projections)], told))


async def _work(projections: list[AppendingProjection], told: WorkerSettings) -> None:
    settings, reader, owner = told.settings(), CountingReader(event_types()), f"worker {os.getpid()}"
    async with open_pool(settings, "varve_projector", PROJECTOR_CONNECTIONS, application_name=owner) as pool:
        engine = Engine(
            projections, pool=pool, reader=reader, listen_url=settings.role_url("varve_projector"), owner=owner
        )
        async with running_beside(engine.run()):
            print(flush=True)
            while await asyncio.to_thread(sys.stdin.readline):
                counts = {"windows": reader.windows, "rows": reader.rows, "decoded": reader.decoded}
                print(json.dumps(counts), flush=True)


if __name__ == "__main__":
    main()
