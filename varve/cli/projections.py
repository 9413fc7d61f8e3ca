"""`varve projections`: how they are, and rebuilding them."""

import asyncio
from typing import Any

import typer
from rich.table import Table

from varve.cli import as_of, rebuilds
from varve.cli import operator_requests as operator
from varve.cli.output import AsJson, Tenant, User, console, show_json
from varve.client import open_client
from varve.settings import Settings

app = typer.Typer(no_args_is_help=True, help="Read models and reactors.")
app.command()(operator.parked)
app.command()(operator.retry)
app.command()(operator.skip)
app.command()(operator.pause)
app.command()(operator.resume)
app.command()(operator.cancel)
app.command()(operator.rollback)
app.command()(rebuilds.rebuild)
app.command()(rebuilds.swap)
app.command()(rebuilds.status)
app.command()(rebuilds.differences)
app.add_typer(as_of.app, name="as-of")


@app.command("list")
def list_projections(*, tenant: Tenant = "demo", user: User = "operator", as_json: AsJson = False) -> None:
    """Show every lane: its generation, its position and how far it is behind the log."""

    async def run() -> Any:
        async with open_client(Settings(), tenant, user) as client:
            return await client.get("/admin/projections")

    lanes = asyncio.run(run())
    if as_json:
        for lane in lanes:
            show_json(lane)
        return
    table = Table("projection", "generation", "status", "position", "lag", "parked", "slots", "owner", "error")
    for lane in lanes:
        cells = (lane[name] for name in ("projection", "generation", "status", "position", "lag", "parked"))
        slots = f"{lane['first_slot']}-{lane['last_slot']}"
        table.add_row(*map(str, cells), slots, lane["owner"] or "-", _trouble(lane))
    console.print(table)


def _trouble(lane: dict[str, Any]) -> str:
    """Return in one line why a lane does not move, if it does not."""
    if lane["paused"]:
        return f"paused: {lane['paused']}"
    if lane["needs"]:
        return f"needs newer code: {lane['needs']}"
    return lane["error"] or ""
