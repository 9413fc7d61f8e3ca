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
app.command()(rebuilds.rebuild)
app.command()(rebuilds.swap)
app.command()(rebuilds.rollback)
app.command()(rebuilds.status)
app.command()(rebuilds.differences)
app.add_typer(as_of.app, name="as-of")

_COLUMNS = (
    *("projection", "generation", "status", "slots", "position", "lag", "seconds", "rate", "parked"),
    *("owner", "heartbeat", "alarm", "error"),
)
_CLOCK = slice(11, 19)
"""Where the time of day is in a date of ISO 8601."""


@app.command("list")
def list_projections(*, tenant: Tenant = "demo", user: User = "operator", as_json: AsJson = False) -> None:
    """Show every lane: how far it is behind the log, whether it moves, who runs it, and what is wrong with it."""

    async def run() -> Any:
        async with open_client(Settings(), tenant, user) as client:
            return await client.get("/admin/projections")

    lanes = asyncio.run(run())
    if as_json:
        for lane in lanes:
            show_json(lane)
        return
    table = Table(*_COLUMNS)
    for lane in lanes:
        table.add_row(*_cells(lane))
    console.print(table)


def _cells(lane: dict[str, Any]) -> list[str]:
    cells = (lane[name] for name in ("projection", "generation", "status"))
    behind = (lane[name] for name in ("position", "lag"))
    return [
        *map(str, cells),
        f"{lane['first_slot']}-{lane['last_slot']}",
        *map(str, behind),
        f"{lane['lag_seconds']:.1f}",
        f"{lane['rate']:.0f}/s",
        str(lane["parked"]),
        lane["owner"] or "-",
        (lane["renewed_at"] or "")[_CLOCK] or "-",
        lane["alarm"] or "",
        _trouble(lane),
    ]


def _trouble(lane: dict[str, Any]) -> str:
    """Return in one line why a lane does not move, if it does not."""
    if lane["paused"]:
        return f"paused: {lane['paused']}"
    if lane["needs"]:
        where = f" at {lane['needs_position']}: void it, skip it or" if lane["needs_position"] else ":"
        return f"stands at the unknown event {lane['needs']}{where} run newer code"
    return lane["error"] or ""
