"""The command line: `varve up` and everything that an operator or an auditor does."""

import asyncio
import sys
from datetime import timedelta
from typing import Annotated

import typer
from rich.console import Console

from domain.shared.access import Actor, Role
from varve import telemetry
from varve.bootstrap import token_issuer
from varve.embedded import EmbeddedServicesError
from varve.migrate import migrate_now
from varve.processes import run_api, run_document_worker, run_projection_worker
from varve.servers import with_running_servers
from varve.settings import MissingSettingError, Settings
from varve.up import NotReadyError, PortInUseError, RunningSystem, running_system, until_signal

app = typer.Typer(no_args_is_help=True, add_completion=False, help="An event-sourced knowledge and agent platform.")
token_app = typer.Typer(no_args_is_help=True, help="Bearer tokens for the API.")
config_app = typer.Typer(no_args_is_help=True, help="Settings.")
app.add_typer(token_app, name="token")
app.add_typer(config_app, name="config")

console = Console(stderr=True)
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]


def main() -> None:
    """Run the command line; an error that a person can mend is one sentence, not a traceback."""
    try:
        app()
    except (EmbeddedServicesError, MissingSettingError, NotReadyError, PortInUseError) as error:
        console.print(f"[red]{error}[/red]", soft_wrap=True)
        sys.exit(1)


@app.command()
def up() -> None:
    """Start PostgreSQL, Redis, the API and the workers; stop them with Ctrl-C."""

    async def run() -> None:
        telemetry.set_up(settings, "varve-up")
        async with running_system(settings) as system:
            _greet(system)
            await until_signal()
            console.print("Stopping …")

    settings = Settings()
    asyncio.run(run())


@app.command()
def migrate() -> None:
    """Bring the database to the newest schema."""
    migrate_now(_settings())


@app.command()
def api() -> None:
    """Serve the HTTP API."""
    run_api(_settings())


@app.command()
def worker(kind: Annotated[str, typer.Argument(help="projections or documents")]) -> None:
    """Run a worker process."""
    runners = {"projections": run_projection_worker, "documents": run_document_worker}
    if kind not in runners:
        raise typer.BadParameter(f"choose one of: {', '.join(runners)}")
    runners[kind](_settings())


@token_app.command("create")
def token_create(
    tenant: Annotated[str, typer.Option(help="The tenant that the token speaks in.")] = "demo",
    user: Annotated[str, typer.Option(help="Who it speaks for.")] = "you",
    role: Annotated[list[Role] | None, typer.Option(help="May be given several times.")] = None,
    hours: Annotated[float, typer.Option(min=0.001, help="How long it is valid.")] = 24,
) -> None:
    """Print a bearer token."""
    roles = frozenset(role or [Role.EDITOR])
    issuer = token_issuer(_settings())
    print(issuer.issue(Actor(tenant=tenant, user=user, roles=roles), timedelta(hours=hours)))  # noqa: T201 - the result


@config_app.command("show")
def config_show() -> None:
    """Print every setting, secrets hidden."""
    for name, value in _settings().model_dump().items():
        print(f"{name} = {value}")  # noqa: T201 - the result


def _settings() -> Settings:
    return asyncio.run(with_running_servers(Settings()))


def _greet(system: RunningSystem) -> None:
    roles = frozenset({Role.EDITOR, Role.ADMIN, Role.OPERATOR})
    token = token_issuer(system.settings).issue(Actor(tenant="demo", user="you", roles=roles), timedelta(hours=24))
    console.print(f"\n[bold green]Varve is up.[/bold green]  API {system.url}  documentation {system.url}/docs")
    console.print(f"Logs of its processes: {system.log_folder}\n\nA token for the tenant `demo`, valid for a day:\n")
    print(f"export VARVE_TOKEN={token}\n", flush=True)  # noqa: T201 - ready to paste, never wrapped
    console.print("Stop everything with Ctrl-C.")
