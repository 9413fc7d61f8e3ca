"""`varve projections parked | retry | skip | pause | resume | cancel`: what operators ask of projections."""

import asyncio
import time
from collections.abc import Sequence
from typing import Annotated, Any

import psycopg
import typer
from psycopg.rows import dict_row
from rich.table import Table

from eventstore.epochs import read_epochs
from eventstore.position import LogPosition
from varve.cli.building import Lane, lanes_of
from varve.cli.log_access import log_settings, open_log
from varve.cli.output import AsJson, ProjectionName, Tenant, User, console, show, show_json
from varve.cli.requests import Outcome, ask, operate
from varve.client import ApiClient, ApiError, open_client
from varve.settings import Settings

Generation = Annotated[int | None, typer.Option(help="Only this generation, such as a rebuild's; all without it.")]

_RETRIED_SECONDS = 60.0
_PAUSE_SECONDS = 0.1
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
    as_json: AsJson = False,
) -> None:
    """Have parked events tried again, each partition in its order; exit with 1 if none of them could be applied."""

    async def run() -> Outcome:
        async with open_client(Settings(), tenant, user) as client:
            before = _parked_of(await lanes_of(client, name))
            outcome = await ask(client, f"/admin/projections/{name}/retries", {"position": position})
            left = await _until_retried(client, name)
            return {**outcome, "applied": max(0, before - left), "parked": left}

    outcome = operate(run(), as_json=as_json, if_interrupted=f"{name} is told to try again, and goes on.")
    if not as_json:
        left = f", {outcome['parked']} are parked: varve projections parked {name}" if outcome["parked"] else ""
        console.print(f"{name} has tried again: {outcome['applied']} events are parked no more{left}")
    if outcome["parked"] and not outcome["applied"]:
        raise typer.Exit(1)


def skip(
    name: ProjectionName,
    position: Annotated[str, typer.Argument(help="Of the event, as `varve projections parked` or `list` shows it.")],
    *,
    reason: Annotated[str, typer.Option(help="Why; kept in the log.")],
    tenant: Tenant = "demo",
    user: User = "operator",
    as_json: AsJson = False,
) -> None:
    """Do without an event that is parked, or that no running code knows and lanes stand at; also in later generations.

    It is of one projection, reactors too; `varve events void` has all of them do without the event.
    """
    _ask(name, "skips", {"position": position, "reason": reason}, tenant, user, as_json=as_json)


def cancel(name: ProjectionName, *, tenant: Tenant = "demo", user: User = "operator", as_json: AsJson = False) -> None:
    """Give up a rebuild; what is read stays as it is."""
    _ask(name, "cancellations", {}, tenant, user, as_json=as_json)


def pause(
    name: ProjectionName,
    *,
    reason: Annotated[str, typer.Option(help="Why; kept in the log.")],
    generation: Generation = None,
    tenant: Tenant = "demo",
    user: User = "operator",
    as_json: AsJson = False,
) -> None:
    """Let no worker run a projection; its rows can be read, and grow old."""
    _ask(name, "pauses", {"reason": reason, "generation": generation}, tenant, user, as_json=as_json)


def resume(
    name: ProjectionName,
    *,
    generation: Generation = None,
    tenant: Tenant = "demo",
    user: User = "operator",
    as_json: AsJson = False,
) -> None:
    """Let workers run a projection again."""
    _ask(name, "resumptions", {"generation": generation}, tenant, user, as_json=as_json)


def _ask(name: str, request: str, body: dict[str, Any], tenant: str, user: str, *, as_json: bool) -> None:
    async def run() -> Outcome:
        async with open_client(Settings(), tenant, user) as client:
            return await ask(client, f"/admin/projections/{name}/{request}", body)

    told = f"The request about {name} may be carried out without this command: varve projections list"
    outcome = operate(run(), as_json=as_json, if_interrupted=told)
    if not as_json:
        console.print(f"[green]{outcome['sentence']}[/green]")


async def _until_retried(client: ApiClient, name: str) -> int:
    """Wait until nothing is about to be tried again; return how many events are parked then.

    Raises:
        ApiError: nobody tries.
    """
    give_up_at = time.monotonic() + _RETRIED_SECONDS
    while True:
        lanes = [lane for lane in await lanes_of(client, name) if lane["status"] in {"live", "building"}]
        if not any(lane["retrying"] for lane in lanes):
            return _parked_of(lanes)
        if any(lane["paused"] for lane in lanes):
            raise ApiError(f"{name} is paused; it tries again when it is resumed", status="paused")
        if time.monotonic() >= give_up_at:
            raise ApiError(
                f"{name} has not tried all of it within {_RETRIED_SECONDS:.0f} s, and goes on: "
                f"varve projections parked {name}",
                status="waiting",
            )
        await asyncio.sleep(_PAUSE_SECONDS)


def _parked_of(lanes: Sequence[Lane]) -> int:
    """Return how many events are parked, in all generations that workers run."""
    by_generation = {lane["generation"]: lane["parked"] for lane in lanes if lane["status"] in {"live", "building"}}
    return sum(by_generation.values())


async def _parked(connection: psycopg.AsyncConnection[Any], name: str | None, limit: int) -> list[dict[str, Any]]:
    epoch = (await read_epochs(connection))[-1].epoch
    cursor = connection.cursor(row_factory=dict_row)
    await cursor.execute(_PARKED, {"projection": name, "limit": limit})
    return [{**row, "position": str(LogPosition(epoch, row["position"]))} for row in await cursor.fetchall()]
