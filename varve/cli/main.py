"""The root of the command line: its parts, and migrating, serving, tests, tokens, settings."""

import sys
from datetime import timedelta
from typing import Annotated

import typer
from pydantic import ValidationError

from domain.shared.access import Actor, Role
from eventstore.errors import EventStoreError
from varve.bootstrap import token_issuer
from varve.cli import claims, events, knowledge, projections, start
from varve.cli.log_access import LogUnreachable
from varve.cli.output import console, running_settings, show
from varve.cli.restore import restore
from varve.client import ApiError
from varve.embedded import EmbeddedServicesError
from varve.migrate import migrate_now
from varve.processes import run_api, run_document_worker, run_projection_worker
from varve.settings import MissingSettingError
from varve.testing import NotACheckoutError, run_tests
from varve.up import NotReadyError, PortInUseError
from workers.embedding.errors import EmbeddingModelMissing

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="An event-sourced knowledge and agent platform.",
)
token_app = typer.Typer(no_args_is_help=True, help="Bearer tokens for the API.")
config_app = typer.Typer(no_args_is_help=True, help="Settings.")
app.add_typer(token_app, name="token")
app.add_typer(config_app, name="config")
app.add_typer(events.app, name="events")
app.add_typer(claims.app, name="claims")
app.add_typer(projections.app, name="projections")
app.command("restore")(restore)
app.command("up")(start.up)
app.command("demo")(start.demo)
app.command("ingest")(knowledge.ingest_files)
app.command("search")(knowledge.search)

_MENDABLE = (
    ApiError,
    EmbeddedServicesError,
    EmbeddingModelMissing,
    EventStoreError,
    FileNotFoundError,
    LogUnreachable,
    MissingSettingError,
    NotACheckoutError,
    NotReadyError,
    PortInUseError,
)


def main() -> None:
    """Run the command line; an error that a person can mend is one sentence, not a traceback."""
    try:
        app()
    except _MENDABLE as error:
        console.print(f"[red]{error}[/red]", soft_wrap=True)
        sys.exit(1)
    except ValidationError as error:
        if error.title != "Settings":
            raise
        for each in error.errors():
            name = ".".join(str(part) for part in each["loc"]).upper()
            console.print(f"[red]The setting VARVE_{name} is not valid: {each['msg']}[/red]", soft_wrap=True)
        sys.exit(2)


@app.command()
def migrate() -> None:
    """Bring the database to the newest schema."""
    migrate_now(running_settings())


@app.command()
def api() -> None:
    """Serve the HTTP API."""
    run_api(running_settings())


@app.command()
def worker(kind: Annotated[str, typer.Argument(help="projections or documents")]) -> None:
    """Run a worker process."""
    runners = {"projections": run_projection_worker, "documents": run_document_worker}
    if kind not in runners:
        raise typer.BadParameter(f"choose one of: {', '.join(runners)}")
    runners[kind](running_settings())


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def test(context: typer.Context) -> None:
    """Run every check and test of a source checkout; arguments go to pytest."""
    sys.exit(run_tests(list(context.args)))


@token_app.command("create")
def token_create(
    tenant: Annotated[str, typer.Option(help="The tenant that the token speaks in.")] = "demo",
    user: Annotated[str, typer.Option(help="Who it speaks for.")] = "you",
    role: Annotated[list[Role] | None, typer.Option(help="May be given several times.")] = None,
    hours: Annotated[float, typer.Option(min=0.001, help="How long it is valid.")] = 24,
) -> None:
    """Print a bearer token."""
    try:
        actor = Actor(tenant=tenant, user=user, roles=frozenset(role or [Role.EDITOR]))
        show(token_issuer(running_settings()).issue(actor, timedelta(hours=hours)))
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error


@config_app.command("show")
def config_show() -> None:
    """Print every setting, secrets hidden."""
    for name, value in running_settings().model_dump().items():
        show(f"{name} = {value}")
