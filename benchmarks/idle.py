"""Measures what a system costs that nobody uses: statements, transactions and WAL of PostgreSQL, commands of Redis.

    python benchmarks/idle.py [--seconds 60] [--save NAME]

It starts what `varve up` starts, with the settings of this folder, and lets it rest. Statements are counted in the log
of its PostgreSQL, since `pg_stat_statements` is not among what comes with it.
"""

import argparse
import asyncio
import json
import re
import sys
import time
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import psycopg
import redis.asyncio

from benchmarks.record import circumstances, save
from benchmarks.system import own_system
from varve.settings import Settings

_SETTLE_SECONDS = 10.0
_SHOWN_CHARACTERS = 70
_COUNTS = """
select xact_commit + xact_rollback, pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0')::bigint
from pg_stat_database where datname = current_database()
"""
_STATEMENT = re.compile(r"\] (?P<user>varve_\w+)@\S+ LOG:  (?:execute [^:]*|statement): (?P<sql>.*(?:\n\t.*)*)")


async def measure(settings: Settings, seconds: float) -> list[dict[str, Any]]:
    """Return figures of a system that rests, each for one second: in all, then for each statement and command."""
    url = settings.required_database_url()
    log_file = settings.data_directory / "postgres.log"
    async with (
        await psycopg.AsyncConnection.connect(url, autocommit=True) as connection,
        redis.asyncio.Redis.from_url(settings.required_redis_url()) as cache,
    ):
        await asyncio.sleep(_SETTLE_SECONDS)
        await connection.execute("alter system set log_statement = 'all'")
        await connection.execute("select pg_reload_conf()")
        await asyncio.sleep(1)
        begin_log, began = log_file.stat().st_size, time.monotonic()
        before, commands_before = await _counts(connection), await _commands(cache)
        await asyncio.sleep(seconds)
        after, commands_after = await _counts(connection), await _commands(cache)
        elapsed = time.monotonic() - began
        text = _after(log_file, begin_log)
    statements = Counter((found["user"], _shortened(found["sql"])) for found in _STATEMENT.finditer(text))
    commands = commands_after - commands_before
    del commands["info"]
    total = {
        "what": "all",
        "statements": statements.total() / elapsed,
        "transactions": (after[0] - before[0]) / elapsed,
        "wal_bytes": (after[1] - before[1]) / elapsed,
        "redis_commands": commands.total() / elapsed,
    }
    return [
        total,
        *({"what": f"{user}: {sql}", "statements": count / elapsed} for (user, sql), count in statements.most_common()),
        *({"what": f"redis: {name}", "redis_commands": count / elapsed} for name, count in commands.most_common()),
    ]


async def _counts(connection: psycopg.AsyncConnection[Any]) -> tuple[int, int]:
    row = await (await connection.execute(_COUNTS)).fetchone()
    assert row is not None
    return row[0], row[1]


async def _commands(cache: "redis.asyncio.Redis[bytes]") -> Counter[str]:
    """Return how often each command was called since the server started, those within scripts included."""
    found = await cache.info("commandstats")
    return Counter({name.removeprefix("cmdstat_"): int(each["calls"]) for name, each in found.items()})


def _after(log_file: Path, begin: int) -> str:
    with log_file.open("rb") as lines:
        lines.seek(begin)
        return lines.read().decode(errors="replace")


def _shortened(sql: str) -> str:
    return " ".join(sql.split())[:_SHOWN_CHARACTERS]


def _show(figures: Iterable[dict[str, Any]]) -> None:
    for figure in figures:
        numbers = ", ".join(f"{name} {value:.2f}/s" for name, value in figure.items() if name != "what")
        sys.stdout.write(f"{figure['what']:<100} {numbers}\n")


async def _measured(seconds: float) -> list[dict[str, Any]]:
    async with own_system(Settings()) as settings:
        return await measure(settings, seconds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--save", metavar="NAME")
    arguments = parser.parse_args()
    figures = asyncio.run(_measured(arguments.seconds))
    sys.stdout.write(json.dumps(circumstances()) + "\n")
    _show(figures)
    if arguments.save:
        save(arguments.save, f"benchmarks/idle.py --seconds {arguments.seconds:g}", figures)


if __name__ == "__main__":
    main()
