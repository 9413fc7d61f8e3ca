"""`varve projections`: how they are, and rebuilding them."""

import asyncio
from typing import Annotated, Any

import typer
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.table import Table

from varve.cli import operator_requests as operator
from varve.cli.output import AsJson, Tenant, User, console, show_json
from varve.client import ApiClient, open_client
from varve.settings import Settings

app = typer.Typer(no_args_is_help=True, help="Read models and reactors.")
app.command()(operator.parked)
app.command()(operator.retry)
app.command()(operator.skip)
app.command()(operator.pause)
app.command()(operator.resume)
app.command()(operator.cancel)
app.command()(operator.rollback)

_PAUSE_SECONDS = 0.2
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


@app.command("rebuild")
def rebuild(
    name: Annotated[str, typer.Argument(help="The projection's name, as `varve projections list` shows it.")],
    *,
    tenant: Tenant = "demo",
    user: User = "operator",
    as_json: AsJson = False,
) -> None:
    """Fill a new generation from the log beside the live one, and wait until it is the one that is read."""

    async def run() -> int:
        async with open_client(Settings(), tenant, user) as client:
            before = _newest(await client.get("/admin/projections"), name)
            await client.post(f"/admin/projections/{name}/rebuilds")
            return await _follow(client, name, before)

    generation = asyncio.run(run())
    if as_json:
        show_json({"projection": name, "generation": generation, "status": "live"})
    else:
        console.print(f"[green]{name} was rebuilt:[/green] generation {generation} is read from now on")


async def _follow(client: ApiClient, name: str, before: int) -> int:
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task(f"Rebuilding {name}", total=None)
        total = 0
        while True:
            lanes = [lane for lane in await client.get("/admin/projections") if lane["projection"] == name]
            live = [lane for lane in lanes if lane["status"] == "live" and lane["generation"] > before]
            if live:
                return int(live[0]["generation"])
            building = [lane for lane in lanes if lane["status"] == "building"]
            if building:
                lag = max(lane["lag"] for lane in building)
                total = max(total, lag)
                progress.update(task, completed=total - lag, total=total)
            await asyncio.sleep(_PAUSE_SECONDS)


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
        return f"needs newer code: {lane['needs']}"
    return lane["error"] or ""


def _newest(lanes: list[dict[str, Any]], name: str) -> int:
    return max((int(lane["generation"]) for lane in lanes if lane["projection"] == name), default=0)
