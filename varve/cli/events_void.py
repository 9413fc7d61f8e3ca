"""`varve events void`: leave a wrong event out, which the log keeps."""

import asyncio
from typing import Annotated, Any

import psycopg
import typer

from eventstore.batch_appender import open_batch_appender
from eventstore.epochs import check_epoch, read_epochs
from eventstore.event_voider import EventVoider, NotVoidable, Voided
from eventstore.position import LogPosition, parse_position
from projections.registry import read_models_of
from varve.bootstrap import event_types
from varve.cli.log_access import log_settings, open_log
from varve.cli.output import AsJson, User, console, show_json

_TENANT = "select tenant from varve.events where position = %s"


def void(
    positions: Annotated[
        list[str], typer.Argument(metavar="POSITION…", help="Of the wrong events, as `varve events tail` shows them.")
    ],
    *,
    reason: Annotated[str, typer.Option(help="Why; kept in the log.")],
    tenant: Annotated[str | None, typer.Option(help="Whose they are; found by position, if absent.")] = None,
    user: User = "operator",
    as_json: AsJson = False,
) -> None:
    """Append an event that voids another: loads, projections and rebuilds leave it out from now on.

    Read models that have applied it keep it until they are rebuilt; the commands for that are printed. They are not
    run: several events may have to be voided first, and a rebuild reads the whole log. Read models that stand at an
    event which no running code knows go on by themselves.
    """
    settings = log_settings()

    async def run() -> None:
        async with open_log(settings) as connection, open_batch_appender(settings.role_url("varve_writer")) as appender:
            voider = EventVoider(connection, appender)
            for token in positions:
                epoch = await check_epoch(connection)
                wrong = LogPosition(epoch, parse_position(token, await read_epochs(connection)))
                of = tenant or await _tenant_of(connection, wrong)
                _show(await voider.void(of, wrong, reason, user), as_json=as_json)

    asyncio.run(run())


async def _tenant_of(connection: psycopg.AsyncConnection[Any], at: LogPosition) -> str:
    row = await (await connection.execute(_TENANT, (at.position,))).fetchone()
    if row is None:
        raise NotVoidable(f"there is no event at {at}")
    return str(row[0])


def _show(voided: Voided, *, as_json: bool) -> None:
    read_models = [name for event in event_types() if voided.topic == event.TOPIC for name in read_models_of(event)]
    if as_json:
        show_json(
            {
                "position": str(voided.position),
                "stream": voided.stream,
                "version": voided.version,
                "topic": voided.topic,
                "to_rebuild": read_models,
            }
        )
        return
    console.print(f"[green]{voided.topic} {voided.stream}@{voided.version} is voided[/green] by {voided.position}")
    for name in read_models:
        console.print(f"  varve projections rebuild {name}")
