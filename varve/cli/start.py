"""`varve up` and `varve demo`: the whole system on this machine, until Ctrl-C."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

from domain.shared.access import Actor, Role
from varve import telemetry
from varve.bootstrap import token_issuer
from varve.cli.knowledge import ingest_with_progress, show_hits
from varve.cli.output import console, show
from varve.client import ApiClient, ApiError, open_client
from varve.ingest import files_below
from varve.settings import Settings
from varve.up import RunningSystem, running_system, until_signal

_EXAMPLES = Path(__file__).parents[2] / "examples" / "documents"
_QUESTION = "Who counted the layers of clay, and what for?"


def up() -> None:
    """Start PostgreSQL, Redis, the API and the workers; stop them with Ctrl-C."""
    asyncio.run(_stay_up(Settings(), "varve-up"))


def demo() -> None:
    """Start everything, ingest the examples and answer a question; then stay up until Ctrl-C."""
    asyncio.run(_stay_up(Settings(), "varve-demo", first=_demonstrate))


async def _stay_up(
    settings: Settings, service: str, first: Callable[[RunningSystem], Awaitable[None]] | None = None
) -> None:
    telemetry.set_up(settings, service)
    async with running_system(settings) as system:
        if first is not None:
            await first(system)
        _greet(system)
        await until_signal()
        console.print("Stopping …")


async def _demonstrate(system: RunningSystem) -> None:
    async with open_client(system.settings, "demo", "you") as client:
        await ingest_with_progress(client, files_below([_EXAMPLES]), as_json=False)
        console.print(f"\n[bold]Question:[/bold] {_QUESTION}")
        show_hits(await _ask_when_indexed(client))


async def _ask_when_indexed(client: ApiClient) -> Any:
    """Ask the demonstration's question as soon as everything that is in the log now can be found."""
    position = await client.head()
    while True:
        try:
            return await client.get("/search", min_position=position, q=_QUESTION, limit=3, group_by="document")
        except ApiError as error:
            if error.code != "position-not-reached":
                raise
            console.print("Still embedding …")


def _greet(system: RunningSystem) -> None:
    """Say where the system is, and print a token that can be pasted."""
    roles = frozenset({Role.EDITOR, Role.ADMIN, Role.OPERATOR})
    token = token_issuer(system.settings).issue(Actor(tenant="demo", user="you", roles=roles), timedelta(hours=24))
    console.print(
        f"\n[bold green]Varve is up.[/bold green]  API {system.url}  documentation {system.url}/docs", soft_wrap=True
    )
    console.print(f"Logs of its processes: {system.log_folder}\n\nA token for the tenant `demo`, valid for a day:\n")
    show(f"export VARVE_TOKEN={token}\n")
    console.print("Stop everything with Ctrl-C.")
