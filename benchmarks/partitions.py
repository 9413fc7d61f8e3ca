"""Measures the log as one table, in partitions by position, and in partitions by tenant.

    python benchmarks/partitions.py [--events 10000000] [--save partitions]

It starts a PostgreSQL of its own with fsync on and fills each layout with as many events, which takes minutes and some
eight gigabytes for each ten million. The layouts are then asked in turns: a batch of 32 events is appended as
`varve.append` does it (the head, the streams' versions, the rows), a window of 1,000 is read, a stream is loaded: all
of them of the newest tenth.
"""

import argparse
import hashlib
import json
import random
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from statistics import median
from typing import Any

import psycopg

from benchmarks.appends import made_up
from benchmarks.appends.database import own_server
from benchmarks.metrics import percentile
from benchmarks.record import circumstances, save

_FILLED_AT_ONCE = 250_000
_BATCH = 32
_WINDOW = 1_000
_TENANTS = 16
_PARTITION_EVENTS = 1_000_000
_ROUNDS, _EACH = 9, 100

_COLUMNS = "create table log (like varve.events including defaults including generated including comments)"
_ONE_TABLE = f"""
{_COLUMNS};
alter table log add primary key (tenant, position);
alter table log add unique (position);
alter table log add unique (tenant, stream, version);
create index on log (topic, position);
"""
# Uniqueness of a stream's versions can't be an index over partitions by position: a row for each stream holds it.
_BY_POSITION = f"""
{_COLUMNS} partition by range (position);
alter table log add primary key (tenant, position);
alter table log add unique (position);
create index on log (tenant, stream, version);
create index on log (topic, position);
create table streams (tenant text, stream text, version integer not null, primary key (tenant, stream))
    with (fillfactor = 70);
"""
_POSITION_PARTITION = "create table log_{number} partition of log for values from ({first}) to ({end})"
# Neither can that of positions be one over partitions by tenant: nothing but the lock of the append holds it.
_BY_TENANT = f"""
{_COLUMNS} partition by hash (tenant);
alter table log add primary key (tenant, position);
alter table log add unique (tenant, stream, version);
create index on log (position);
create index on log (topic, position);
"""
_TENANT_PARTITION = "create table log_{number} partition of log for values with (modulus 8, remainder {number})"

# Names begin as UUIDs of version 7 do, so they don't scatter; a stream has five events.
_FILL = """
insert into log (tenant, position, stream, version, topic, class_version, command_id, data, metadata, recorded_at)
select 'tenant-' || i / 5 %% %(tenants)s, i, 'entry-' || lpad(to_hex(i / 5), 12, '0') || '-' || md5(i / 5 || ''),
       i %% 5 + 1,
       case when i %% 5 = 0 then 'knowledge.KnowledgeEntryCreated' else 'knowledge.KnowledgeEntryUpdated' end, 1,
       gen_random_uuid(), %(data)s, %(metadata)s, now()
from generate_series(%(first)s::bigint, %(last)s::bigint) i
"""
_FILL_STREAMS = "insert into streams select tenant, stream, max(version) from log group by tenant, stream"
_HEAD = "select coalesce((select position from log order by position desc limit 1), 0)"
_CHECK = """
select count(*) from unnest(%b::text[], %b::text[]) as w (tenant, stream)
cross join lateral (select version from log e where e.tenant = w.tenant and e.stream = w.stream
                    order by version desc limit 1) s
"""
_APPEND = """
insert into log (tenant, position, stream, version, topic, class_version, command_id, data, metadata, recorded_at)
select e.tenant, %b + row_number() over (), e.stream, 1, 'knowledge.KnowledgeEntryCreated', 1, gen_random_uuid(),
       %b, %b, now()
from unnest(%b::text[], %b::text[]) as e (tenant, stream)
"""
_APPEND_STREAMS = "insert into streams select *, 1 from unnest(%b::text[], %b::text[])"
_READ = "select * from log where position > %b and position <= %b order by position limit 1000"
_LOAD = "select * from log where tenant = %b and stream = %b order by version"
_SIZES = """
select sum(pg_relation_size(oid)), sum(pg_indexes_size(oid)) from pg_class
where relkind = 'r' and relname ~ '^(log|streams)'
"""


@dataclass(frozen=True, slots=True)
class Layout:
    """A way to lay the log out on disk; `has_streams` says that a table of its own holds the streams' versions."""

    name: str
    ddl: str
    partition: str | None = None
    partitions: Callable[[int], int] = lambda _: 0
    has_streams: bool = False


_LAYOUTS = (
    Layout("one table", _ONE_TABLE),
    Layout("by position", _BY_POSITION, _POSITION_PARTITION, lambda events: events // _PARTITION_EVENTS + 2, True),
    Layout("by tenant", _BY_TENANT, _TENANT_PARTITION, lambda _: 8),
)


class Log:
    """One layout, filled."""

    def __init__(self, layout: Layout, connection: psycopg.Connection[Any], events: int) -> None:
        self.layout = layout
        self._connection = connection
        self._events = events
        self._newest = events - events // 10  # what is asked for fits into memory, whichever layout was filled last
        self._random = random.Random(1)  # noqa: S311 - places to look at, no secrets
        self._data = made_up.payloads()[0]
        self._metadata = made_up.metadata_bytes()

    def fill(self) -> float:
        """Return how many events a second went in."""
        self._connection.execute(self.layout.ddl.encode())
        for number in range(self.layout.partitions(self._events)):
            first = number * _PARTITION_EVENTS
            partition = (self.layout.partition or "").format(number=number, first=first, end=first + _PARTITION_EVENTS)
            self._connection.execute(partition.encode())
        started = time.perf_counter()
        for first in range(1, self._events, _FILLED_AT_ONCE):
            last = min(self._events, first + _FILLED_AT_ONCE - 1)
            made = {"tenants": _TENANTS, "first": first, "last": last, "data": self._data, "metadata": self._metadata}
            self._connection.execute(_FILL, made)
        if self.layout.has_streams:
            self._connection.execute(_FILL_STREAMS)
        seconds = time.perf_counter() - started
        self._connection.execute("vacuum (analyze)")
        self._connection.execute("checkpoint")
        return self._events / seconds

    def append(self) -> None:
        """Append a batch: look where the log ends and at the streams, and write the rows."""
        with self._connection.transaction():
            [[head]] = self._run(_HEAD).fetchall()
            tenants = [f"tenant-{number % _TENANTS}" for number in range(_BATCH)]
            streams = [f"entry-{head:012x}-{number}" for number in range(_BATCH)]
            assert self._run(_CHECK, tenants, streams).fetchall() == [(0,)]
            self._run(_APPEND, head, self._data, self._metadata, tenants, streams)
            if self.layout.has_streams:
                self._run(_APPEND_STREAMS, tenants, streams)

    def read(self) -> None:
        """Read a window of the whole log."""
        after = self._random.randrange(self._newest, self._events - _WINDOW)
        assert len(self._run(_READ, after, after + _WINDOW).fetchall()) == _WINDOW

    def load(self) -> None:
        """Load a stream of five events."""
        number = self._random.randrange(self._newest // 5 + 1, self._events // 5)
        digest = hashlib.md5(str(number).encode(), usedforsecurity=False).hexdigest()
        stream = f"entry-{number:012x}-{digest}"
        assert len(self._run(_LOAD, f"tenant-{number % _TENANTS}", stream).fetchall()) == 5

    def sizes(self) -> tuple[int, int]:
        """Return how many bytes the rows and the indexes of an event take."""
        [[rows, indexes]] = self._connection.execute(_SIZES).fetchall()
        return int(rows) // self._events, int(indexes) // self._events

    def _run(self, statement: str, *parameters: Any) -> psycopg.Cursor[Any]:
        cursor = self._connection.cursor(binary=True)
        cursor.execute(statement.encode(), parameters or None, prepare=True)
        return cursor


def measure(events: int) -> Iterator[dict[str, Any]]:
    """Fill every layout, ask them in turns, and yield a figure for each."""
    with own_server() as server, ExitStack() as stack:
        logs, filled = [], {}
        for layout in _LAYOUTS:
            settings = stack.enter_context(server.database())
            connection = stack.enter_context(psycopg.connect(settings.required_database_url(), autocommit=True))
            logs.append(log := Log(layout, connection, events))
            filled[layout.name] = log.fill()
        works = {"append": Log.append, "read": Log.read, "load": Log.load}
        times: dict[tuple[str, str], list[float]] = {(log.layout.name, work): [] for log in logs for work in works}
        for number in range(_ROUNDS):
            for log in logs if number % 2 == 0 else reversed(logs):
                for name, work in works.items():
                    times[log.layout.name, name] += _milliseconds(work, log)
        for log in logs:
            rows, indexes = log.sizes()
            yield {
                "layout": log.layout.name,
                "events": events,
                "filled_per_second": round(filled[log.layout.name]),
                "bytes_of_an_event": rows,
                "bytes_of_its_index_entries": indexes,
                **{
                    f"{name}_{what}_ms": round(value, 3)
                    for name in works
                    for what, value in (
                        ("p50", median(times[log.layout.name, name])),
                        ("p99", percentile(times[log.layout.name, name], 99)),
                    )
                },
            }


def _milliseconds(work: Callable[[Log], None], log: Log) -> list[float]:
    times = []
    for _ in range(_EACH):
        started = time.perf_counter()
        work(log)
        times.append((time.perf_counter() - started) * 1000)
    return times


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=10_000_000)
    parser.add_argument("--save", metavar="NAME", help="keep the figures as benchmarks/results/NAME.json")
    arguments = parser.parse_args()
    print(json.dumps(circumstances()), flush=True)
    figures = []
    for figure in measure(arguments.events):
        print(json.dumps(figure), flush=True)
        figures.append(figure)
    if arguments.save:
        print(save(arguments.save, " ".join(["benchmarks/partitions.py", *sys.argv[1:]]), figures))


if __name__ == "__main__":
    main()
