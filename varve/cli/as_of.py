"""`varve projections as-of`: read models as they stood at a past position, for audits."""

import asyncio
from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

import typer
from rich.table import Table

from varve.cli.output import AsJson, OnlyTenant, Tenant, User, console, show, show_json
from varve.cli.requests import Outcome, ask, carried_out, operate
from varve.client import open_client
from varve.settings import Settings

_MAY_GO_ON = "The request may be carried out without this command: varve projections as-of list"

app = typer.Typer(no_args_is_help=True, help="Read models as they stood at a past position, for audits.")


@app.command()
def start(
    names: Annotated[list[str], typer.Argument(help="The projections; search by meaning and by words needs two.")],
    *,
    to_position: Annotated[str | None, typer.Option(help="A position, as `varve events tail` shows it.")] = None,
    to_time: Annotated[
        datetime | None, typer.Option(help="A time in UTC: as of the last event that was recorded by then.")
    ] = None,
    only_tenant: OnlyTenant = None,
    tenant: Tenant = "demo",
    user: User = "operator",
    as_json: AsJson = False,
) -> None:
    """Build them in tables of their own, and print the id that X-As-Of takes when they are kept."""
    if (to_position is None) == (to_time is None):
        raise typer.BadParameter("choose one of --to-position and --to-time")
    time = None if to_time is None else f"{to_time.isoformat()}Z"
    plan = {"projections": names, "tenant": only_tenant, "position": to_position, "time": time}

    async def run() -> Outcome:
        async with open_client(Settings(), tenant, user) as client:
            return await ask(client, "/admin/as-of", plan)

    outcome = operate(run(), as_json=as_json, if_interrupted=_MAY_GO_ON)
    if not as_json:
        console.print(f"[green]{outcome['sentence']}[/green] varve projections as-of list shows when they are kept.")
        show(outcome["request_id"])


@app.command("list")
def list_as_of(*, tenant: Tenant = "demo", user: User = "operator", as_json: AsJson = False) -> None:
    """Show what was built, and what is being built."""

    async def run() -> Any:
        async with open_client(Settings(), tenant, user) as client:
            return await client.get("/admin/as-of")

    views = asyncio.run(run())
    if as_json:
        for view in views:
            show_json(view)
        return
    table = Table("id", "projection", "tenant", "position", "status")
    for view in views:
        tenant_of = view["only_tenant"] or "all"
        table.add_row(view["as_of"], view["projection"], tenant_of, view["position"], view["status"])
    console.print(table)


@app.command()
def drop(
    as_of: Annotated[UUID, typer.Argument(help="The id, as `varve projections as-of list` shows it.")],
    *,
    tenant: Tenant = "demo",
    user: User = "operator",
    as_json: AsJson = False,
) -> None:
    """Drop the tables, built or not."""

    async def run() -> Outcome:
        async with open_client(Settings(), tenant, user) as client:
            location = await client.delete(f"/admin/as-of/{as_of}")
            return await carried_out(client, (location or "").rpartition("/")[2])

    outcome = operate(run(), as_json=as_json, if_interrupted=_MAY_GO_ON)
    if not as_json:
        console.print(f"[green]{outcome['sentence']}[/green]")
