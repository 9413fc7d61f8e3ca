"""`varve projections rebuild | swap | status | differences`: new generations of read models, and what they are for."""

import asyncio
from typing import Annotated, Any, Literal, assert_never

import typer
from psycopg.rows import dict_row
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.table import Table

from varve.cli.log_access import log_settings, open_log
from varve.cli.output import AsJson, OnlyTenant, ProjectionName, Tenant, User, console, show_json
from varve.client import ApiClient, ApiError, open_client
from varve.settings import Settings

_PAUSE_SECONDS = 0.2
_DIFFERENCES = """
select projection, generation, only_tenant, position, is_repaired, differing, by_table, some_keys, finished_at
from varve.verifications where projection = %s order by generation desc limit 1
"""

Purpose = Literal["swap", "hold", "verify", "repair"]


def rebuild(
    name: ProjectionName,
    *,
    swap: Annotated[bool, typer.Option(help="Whether the new rows are read as soon as they have caught up.")] = True,
    verify: Annotated[
        bool, typer.Option("--verify", help="Only compare the new rows with the live ones; exit with 1 if some differ.")
    ] = False,
    only_tenant: OnlyTenant = None,
    tenant: Tenant = "demo",
    user: User = "operator",
    as_json: AsJson = False,
) -> None:
    """Fill a new generation from the log beside the live one, and wait until it is the one that is read.

    With --only-tenant the new rows take the place of that tenant's among the live ones. With --no-swap there is no
    waiting: `varve projections status` shows how far it is, and `varve projections swap` has it read.
    """
    if not swap and (verify or only_tenant is not None):
        raise typer.BadParameter("--no-swap is for rows of all tenants that are to be read some time")
    purpose: Purpose = "swap" if swap else "hold"
    if verify:
        purpose = "verify"
    elif only_tenant is not None:
        purpose = "repair"

    async def run() -> dict[str, Any]:
        async with open_client(Settings(), tenant, user) as client:
            lanes = await _lanes(client, name)
            if purpose != "swap" and any(map(_is_rebuild, lanes)):
                raise ApiError(f"{name} is being rebuilt already: see `varve projections status {name}`")
            known = lanes + await client.get(f"/admin/projections/{name}/verifications")
            before = max((each["generation"] for each in known), default=0)
            await client.post(f"/admin/projections/{name}/rebuilds", json={"purpose": purpose, "tenant": only_tenant})
            return await _outcome(client, name, purpose, before)

    outcome = asyncio.run(run())
    if as_json:
        show_json(outcome)
    else:
        console.print(_sentence(name, purpose, outcome))
    if purpose == "verify" and outcome["differing"]:
        raise typer.Exit(1)


def swap(name: ProjectionName, *, tenant: Tenant = "demo", user: User = "operator") -> None:
    """Read from the generation that `rebuild --no-swap` fills, as soon as it has caught up."""

    async def run() -> None:
        async with open_client(Settings(), tenant, user) as client:
            await client.post(f"/admin/projections/{name}/swaps")

    asyncio.run(run())
    console.print(f"[green]{name} is swapped[/green] as soon as it has caught up: see `varve projections list`")


def status(name: ProjectionName, *, tenant: Tenant = "demo", user: User = "operator", as_json: AsJson = False) -> None:
    """Show the generations that are being filled: how far they are, how fast, and how long it will take."""

    async def run() -> Any:
        async with open_client(Settings(), tenant, user) as client:
            return await client.get(f"/admin/projections/{name}/rebuilds")

    rebuilds = asyncio.run(run())
    if as_json:
        for each in rebuilds:
            show_json(each)
        return
    table = Table("generation", "purpose", "tenant", "position", "events left", "events/s", "seconds left")
    for each in rebuilds:
        cells = (each[field] for field in ("generation", "purpose"))
        numbers = ("paused" if each["is_paused"] else _number(each["rate"]), _number(each["seconds_left"]))
        table.add_row(
            *map(str, cells), each["only_tenant"] or "all", each["position"], str(each["events_left"]), *numbers
        )
    console.print(table)


def differences(name: ProjectionName, *, as_json: AsJson = False) -> None:
    """Show what the last rebuild that compared or repaired rows has found, with some of their keys, of all tenants.

    It needs PostgreSQL and nothing else.
    """
    settings = log_settings()

    async def run() -> dict[str, Any] | None:
        async with open_log(settings) as connection:
            cursor = connection.cursor(row_factory=dict_row)
            await cursor.execute(_DIFFERENCES, (name,))
            return await cursor.fetchone()

    found = asyncio.run(run())
    if found is None:
        console.print(f"{name} was not compared yet: varve projections rebuild {name} --verify")
    elif as_json:
        show_json(found)
    else:
        table = Table("table", "differing rows", "some of their keys")
        for each, count in found["by_table"].items():
            table.add_row(each, str(count), "\n".join(map(str, found["some_keys"].get(each, []))))
        console.print(table)


async def _outcome(client: ApiClient, name: str, purpose: Purpose, before: int) -> dict[str, Any]:
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task(f"Rebuilding {name}", total=None)
        total, has_begun = 0, False
        while True:
            lanes = await _lanes(client, name)
            if found := await _found(client, name, purpose, before, lanes):
                return found
            building = [lane for lane in lanes if _is_rebuild(lane)]
            if building and purpose == "hold":
                return {"projection": name, "generation": building[0]["generation"], "status": "building"}
            if has_begun and not building and purpose != "swap":
                raise ApiError(f"The rebuild of {name} was given up")
            if building:
                has_begun = True
                lag = max(lane["lag"] for lane in building)
                total = max(total, lag)
                progress.update(task, completed=total - lag, total=total)
            await asyncio.sleep(_PAUSE_SECONDS)


async def _found(
    client: ApiClient, name: str, purpose: Purpose, before: int, lanes: list[dict[str, Any]]
) -> dict[str, Any] | None:
    """Return what the rebuild has come to, if it is over."""
    if purpose == "swap":
        live = [lane["generation"] for lane in lanes if lane["status"] == "live" and lane["generation"] > before]
        return {"projection": name, "generation": live[0], "status": "live"} if live else None
    compared = [
        found for found in await client.get(f"/admin/projections/{name}/verifications") if found["generation"] > before
    ]
    return compared[0] if compared else None


def _sentence(name: str, purpose: Purpose, outcome: dict[str, Any]) -> str:
    match purpose:
        case "swap":
            return f"[green]{name} was rebuilt:[/green] generation {outcome['generation']} is read from now on"
        case "hold":
            generation = outcome["generation"]
            return f"[green]{name} is being rebuilt[/green] as generation {generation}: varve projections status {name}"
        case "verify" | "repair":
            done = "was compared" if purpose == "verify" else "was repaired"
            told = f"{name} {done} at {outcome['position']}: {outcome['differing']} differing rows"
            return f"{told}, see varve projections differences {name}" if outcome["differing"] else told
        case _:
            assert_never(purpose)


async def _lanes(client: ApiClient, name: str) -> list[dict[str, Any]]:
    return [lane for lane in await client.get("/admin/projections") if lane["projection"] == name]


def _is_rebuild(lane: dict[str, Any]) -> bool:
    return bool(lane["status"] == "building" and lane["purpose"] != "as_of")


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:,.0f}"
