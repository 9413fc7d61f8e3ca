"""`varve claims`: compare claims and counters with the log that they are derived from, and put them right."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import psycopg
import typer

from eventstore.claims import Difference, rebuild_claims, verify_claims
from varve.cli.log_access import log_settings, open_log
from varve.cli.output import AsJson, console, show, show_json

app = typer.Typer(no_args_is_help=True, help="Unique claims and bounded counters.")

_DIFFERENT = 1

Compare = Callable[[psycopg.AsyncConnection[Any]], Coroutine[Any, Any, list[Difference]]]


@app.command()
def verify(*, as_json: AsJson = False) -> None:
    """List what differs from the log; ends with 1 when something does."""
    differences = _run(verify_claims)
    _show(differences, as_json=as_json)
    if differences:
        raise typer.Exit(_DIFFERENT)


@app.command()
def rebuild(*, as_json: AsJson = False) -> None:
    """Put right what differs from the log, and list it; appends wait while the tables are compared."""
    _show(_run(rebuild_claims), as_json=as_json)


def _run(compare: Compare) -> list[Difference]:
    settings = log_settings()

    async def run() -> list[Difference]:
        async with open_log(settings) as connection:
            return await compare(connection)

    return asyncio.run(run())


def _show(differences: list[Difference], *, as_json: bool) -> None:
    for each in differences:
        if as_json:
            show_json(
                {"kind": each.kind, "tenant": each.tenant, "name": each.name, "log": each.log, "table": each.table}
            )
        else:
            show(f"{each.kind}  {each.tenant}  {each.name}: {each.log!r} by the log, {each.table!r} in the table")
    if not as_json:
        console.print(f"{len(differences)} differences")
