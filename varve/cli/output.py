"""What every command of the command line prints with, and the settings that it uses."""

import asyncio
from collections.abc import Mapping
from typing import Annotated, Any

import orjson
import typer
from rich.console import Console

from varve.servers import with_running_servers
from varve.settings import Settings

console = Console(stderr=True)
"""For people; results go to standard output."""

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, a line for each item.")]
Stream = Annotated[str, typer.Argument(help="Such as entry-018f… or document-018f….")]
OfTenant = Annotated[str, typer.Option("--tenant", help="The tenant that has the stream.")]
ProjectionName = Annotated[str, typer.Argument(help="The projection's name, as `varve projections list` shows it.")]
OnlyTenant = Annotated[str | None, typer.Option(help="Only this tenant's rows, rather than those of all.")]
Tenant = Annotated[str, typer.Option(help="The tenant to act in, unless VARVE_TOKEN says.")]
User = Annotated[str, typer.Option(help="The user to act as, unless VARVE_TOKEN says.")]


def running_settings() -> Settings:
    """Return the settings, with the servers of the `varve up` that runs here, if one does."""
    return asyncio.run(with_running_servers(Settings()))


def show(text: str) -> None:
    """Print a result: to standard output, unwrapped."""
    print(text, flush=True)  # noqa: T201 - this is the command line's result


def show_json(item: Mapping[str, Any]) -> None:
    """Print one item as a line of JSON."""
    show(orjson.dumps(item, default=str).decode())
