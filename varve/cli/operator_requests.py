"""`varve projections parked | retry | skip | pause | resume | cancel | rollback`: what operators ask of projections."""

import asyncio
from typing import Annotated, Any

import psycopg
import typer
from psycopg.rows import dict_row
from rich.table import Table

from eventstore.epochs import read_epochs
from eventstore.position import LogPosition
from varve.cli.log_access import log_settings, open_log
from varve.cli.output import AsJson, ProjectionName, Tenant, User, console, show, show_json
from varve.client import open_client
from varve.settings import Settings

Generation = Annotated[int | None, typer.Option(help="Only this generation, such as a rebuild's; all without it.")]

_PARKED = """
select p.projection, p.generation, g.status, p.position, p.tenant, p.partition, p.error, p.attempts, p.parked_at,
       p.stack
from varve.parked p join varve.generations g using (projection, generation)
where %(projection)s::text is null or p.projection = %(projection)s
order by p.projection, p.generation, p.position limit %(limit)s
"""


def parked(
    name: Annotated[str | None, typer.Argument(help="Only this projection's.")] = None,
    *,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="The most events to show.")] = 100,
    stack: Annotated[bool, typer.Option("--stack", help="Show where each error came from.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show the events that projections could not apply, and those that wait behind them, of all tenants.

    It needs PostgreSQL and nothing else.
    """
    settings = log_settings()

    async def run() -> list[dict[str, Any]]:
        async with open_log(settings) as connection:
            return await _parked(connection, name, limit)

    rows = asyncio.run(run())
    if as_json:
        for row in rows:
            show_json({**row, "parked_at": row["parked_at"].isoformat()})
        return
    table = Table("projection", "generation", "position", "tenant", "partition", "error", "tries")
    for row in rows:
        cells = (row["projection"], row["generation"], row["position"], row["tenant"], row["partition"])
        table.add_row(*map(str, cells), row["error"] or "waits behind another", str(row["attempts"]))
    console.print(table)
    if stack:
        for row in rows:
            if row["stack"]:
                show(f"\n{row['position']}\n{row['stack']}")


def retry(
    name: ProjectionName,
    *,
    position: Annotated[str | None, typer.Option(help="Of one event; all that is parked without it.")] = None,
    tenant: Tenant = "demo",
    user: User = "operator",
) -> None:
    """Have parked events tried again, each partition in its order."""
    asyncio.run(_ask(name, "retries", {"position": position}, tenant, user))
    console.print(f"[green]{name} tries again[/green]: see `varve projections parked {name}`")


def skip(
    name: ProjectionName,
    position: Annotated[str, typer.Argument(help="Of the event, as `varve projections parked` or `list` shows it.")],
    *,
    reason: Annotated[str, typer.Option(help="Why; kept in the log.")],
    tenant: Tenant = "demo",
    user: User = "operator",
) -> None:
    """Do without an event that is parked, or that no running code knows and lanes stand at; also in later generations.

    It is of one projection, reactors too; `varve events void` has all of them do without the event.
    """
    asyncio.run(_ask(name, "skips", {"position": position, "reason": reason}, tenant, user))
    console.print(f"[green]{name} does without {position}[/green]")


def cancel(name: ProjectionName, *, tenant: Tenant = "demo", user: User = "operator") -> None:
    """Give up a rebuild; what is read stays as it is."""
    asyncio.run(_ask(name, "cancellations", {}, tenant, user))
    console.print(f"[green]the rebuild of {name} is given up[/green]")


def rollback(name: ProjectionName, *, tenant: Tenant = "demo", user: User = "operator") -> None:
    """Read the generation before the live one again, as soon as it has caught up."""
    asyncio.run(_ask(name, "rollbacks", {}, tenant, user))
    console.print(f"[green]{name} goes back[/green]: see `varve projections list`")


def pause(
    name: ProjectionName,
    *,
    reason: Annotated[str, typer.Option(help="Why; kept in the log.")],
    generation: Generation = None,
    tenant: Tenant = "demo",
    user: User = "operator",
) -> None:
    """Let no worker run a projection; its rows can be read, and grow old."""
    asyncio.run(_ask(name, "pauses", {"reason": reason, "generation": generation}, tenant, user))
    console.print(f"[green]{name} pauses[/green]")


def resume(
    name: ProjectionName, *, generation: Generation = None, tenant: Tenant = "demo", user: User = "operator"
) -> None:
    """Let workers run a projection again."""
    asyncio.run(_ask(name, "resumptions", {"generation": generation}, tenant, user))
    console.print(f"[green]{name} goes on[/green]")


async def _ask(name: str, request: str, body: dict[str, Any], tenant: str, user: str) -> None:
    async with open_client(Settings(), tenant, user) as client:
        await client.post(f"/admin/projections/{name}/{request}", json=body)


async def _parked(connection: psycopg.AsyncConnection[Any], name: str | None, limit: int) -> list[dict[str, Any]]:
    epoch = (await read_epochs(connection))[-1].epoch
    cursor = connection.cursor(row_factory=dict_row)
    await cursor.execute(_PARKED, {"projection": name, "limit": limit})
    return [{**row, "position": str(LogPosition(epoch, row["position"]))} for row in await cursor.fetchall()]
