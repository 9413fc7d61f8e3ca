"""`varve events void`: leave a wrong event out, which the log keeps."""

import asyncio
from typing import Annotated

import typer

from eventstore.batch_appender import open_batch_appender
from eventstore.epochs import check_epoch, read_epochs
from eventstore.event_voider import EventVoider, Voided
from eventstore.position import LogPosition, parse_position
from projections.registry import read_models_of
from varve.bootstrap import event_types
from varve.cli.log_access import log_settings, open_log
from varve.cli.output import AsJson, OfTenant, User, console, show_json


def void(
    position: Annotated[str, typer.Argument(help="The position of the wrong event, as `varve events tail` shows it.")],
    *,
    reason: Annotated[str, typer.Option(help="Why; kept in the log.")],
    tenant: OfTenant = "demo",
    user: User = "operator",
    as_json: AsJson = False,
) -> None:
    """Append an event that voids another: loads, projections and rebuilds leave it out from now on.

    Read models that have applied it keep it until they are rebuilt; the commands for that are printed. They are not
    run: several events may have to be voided first, and a rebuild reads the whole log.
    """
    settings = log_settings()

    async def run() -> Voided:
        async with open_log(settings) as connection, open_batch_appender(settings.role_url("varve_writer")) as appender:
            epoch = await check_epoch(connection)
            wrong = LogPosition(epoch, parse_position(position, await read_epochs(connection)))
            return await EventVoider(connection, appender).void(tenant, wrong, reason, user)

    voided = asyncio.run(run())
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
