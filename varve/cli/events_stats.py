"""`varve events stats`: what the log holds, counted."""

import asyncio
from collections.abc import Iterable
from typing import Annotated, Any

import typer
from rich.table import Table

from eventstore.statistics import LogStatistics, count_log
from varve.cli.log_access import log_settings, open_log
from varve.cli.output import AsJson, console, show, show_json

_MOST_DAYS = 14


def stats(
    *,
    tenant: Annotated[str | None, typer.Option(help="Only this tenant's events.")] = None,
    longest: Annotated[int, typer.Option(min=1, max=1000, help="How many of the longest streams to name.")] = 10,
    as_json: AsJson = False,
) -> None:
    """Count the log's events by type, tenant and day, its streams and its bytes."""
    settings = log_settings()

    async def run() -> LogStatistics:
        async with open_log(settings) as connection:
            return await count_log(connection, tenant, longest)

    found = asyncio.run(run())
    if as_json:
        show_json(_as_json(found))
    else:
        _print(found)


def _as_json(found: LogStatistics) -> dict[str, Any]:
    return {
        "head": str(found.head),
        "events": found.events,
        "streams": found.streams,
        "voided": found.voided,
        "bytes": found.octets,
        "bytes_on_disk": found.octets_on_disk,
        "by_type": dict(found.by_topic.most_common()),
        "by_tenant": dict(found.by_tenant.most_common()),
        "by_day": {day.isoformat(): found.by_day[day] for day in sorted(found.by_day)},
        "longest_streams": [
            {"tenant": tenant, "stream": stream, "version": version} for tenant, stream, version in found.longest
        ],
    }


def _print(found: LogStatistics) -> None:
    show(
        f"head {found.head}: {found.events} events in {found.streams} streams, {found.voided} voided; "
        f"{found.octets} bytes of events, {found.octets_on_disk} on disk"
    )
    days = sorted(found.by_day, reverse=True)[:_MOST_DAYS]
    _print_table("type", found.by_topic.most_common())
    _print_table("tenant", found.by_tenant.most_common())
    _print_table("day", [(day, found.by_day[day]) for day in days])
    _print_table("longest streams", [(f"{tenant}/{stream}", version) for tenant, stream, version in found.longest])


def _print_table(title: str, rows: Iterable[tuple[Any, int]]) -> None:
    table = Table(title, "events")
    for name, count in rows:
        table.add_row(str(name), str(count))
    console.print(table)
