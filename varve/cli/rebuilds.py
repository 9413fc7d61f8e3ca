"""`varve projections rebuild | swap | rollback | status | differences`: new generations, and what they are for."""

import asyncio
from typing import Annotated, Any, assert_never

import typer
from psycopg.rows import dict_row
from rich.table import Table

from varve.cli.building import Building, Purpose, lanes_of, live_since
from varve.cli.log_access import log_settings, open_log
from varve.cli.output import AsJson, OnlyTenant, ProjectionName, Tenant, User, console, show_json
from varve.cli.requests import Outcome, ask, operate
from varve.client import open_client
from varve.settings import Settings

_DIFFERENCES = """
select projection, generation, only_tenant, position, is_repaired, differing, by_table, some_keys, finished_at
from varve.verifications where projection = %s order by generation desc limit 1
"""

_WAIT_SECONDS = 3600.0
Wait = Annotated[float, typer.Option(min=0, help="Seconds to wait for the end; the rebuild itself goes on.")]


def rebuild(
    name: ProjectionName,
    *,
    swap: Annotated[bool, typer.Option(help="Whether the new rows are read as soon as they have caught up.")] = True,
    verify: Annotated[
        bool, typer.Option("--verify", help="Only compare the new rows with the live ones; exit with 1 if some differ.")
    ] = False,
    only_tenant: OnlyTenant = None,
    wait: Wait = _WAIT_SECONDS,
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

    body = {"purpose": purpose, "tenant": only_tenant}

    async def run() -> Outcome:
        async with open_client(Settings(), tenant, user) as client:
            asked = await ask(client, f"/admin/projections/{name}/rebuilds", body)
            if purpose == "hold":
                return {"projection": name, "generation": asked["generation"], "status": "building"}
            return await Building(client, name, asked["generation"], purpose).end(wait)

    outcome = operate(run(), as_json=as_json, if_interrupted=_goes_on(name))
    if not as_json:
        console.print(_sentence(name, purpose, outcome))
    if purpose == "verify" and outcome["differing"]:
        raise typer.Exit(1)


def swap(
    name: ProjectionName,
    *,
    wait: Wait = _WAIT_SECONDS,
    tenant: Tenant = "demo",
    user: User = "operator",
    as_json: AsJson = False,
) -> None:
    """Read from the generation that `rebuild --no-swap` fills, as soon as it has caught up, and wait for that."""
    _have_read(name, "swaps", wait, tenant, user, as_json=as_json)


def rollback(
    name: ProjectionName,
    *,
    wait: Wait = _WAIT_SECONDS,
    tenant: Tenant = "demo",
    user: User = "operator",
    as_json: AsJson = False,
) -> None:
    """Read the generation before the live one again, as soon as it has caught up, and wait for that."""
    _have_read(name, "rollbacks", wait, tenant, user, as_json=as_json)


def _have_read(name: str, request: str, wait: float, tenant: str, user: str, *, as_json: bool) -> None:
    """Ask that a generation that there is be read, and wait until it is."""

    async def run() -> Outcome:
        async with open_client(Settings(), tenant, user) as client:
            before = await lanes_of(client, name)
            asked = await ask(client, f"/admin/projections/{name}/{request}")
            number = asked["generation"]
            return await Building(client, name, number, "swap").end(wait, live_since(before, number))

    outcome = operate(run(), as_json=as_json, if_interrupted=_goes_on(name))
    if not as_json:
        console.print(f"[green]{name}:[/green] {_read(outcome)}")


def _read(outcome: Outcome) -> str:
    """Return whether the generation is read still: another one may have been quick to take its place."""
    number = outcome["generation"]
    if outcome["status"] == "live":
        return f"generation {number} is read from now on"
    return f"generation {number} was read, and another one has taken its place: varve projections list"


def _goes_on(name: str) -> str:
    return f"The rebuild of {name} goes on without this command: varve projections status {name}, or cancel {name}"


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


def _sentence(name: str, purpose: Purpose, outcome: dict[str, Any]) -> str:
    match purpose:
        case "swap":
            return f"[green]{name} was rebuilt:[/green] {_read(outcome)}"
        case "hold":
            generation = outcome["generation"]
            return f"[green]{name} is being rebuilt[/green] as generation {generation}: varve projections status {name}"
        case "verify" | "repair":
            done = "was compared" if purpose == "verify" else "was repaired"
            told = f"{name} {done} at {outcome['position']}: {outcome['differing']} differing rows"
            return f"{told}, see varve projections differences {name}" if outcome["differing"] else told
        case _:
            assert_never(purpose)


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:,.0f}"
