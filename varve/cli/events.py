"""`varve events`: the log itself, for audits. Only `void` writes."""

import asyncio
from collections.abc import AsyncIterator
from typing import Annotated, Any

import typer

from eventstore.epochs import read_epochs
from eventstore.log import LogReader
from eventstore.log_filter import LogFilter
from eventstore.position import LogPosition, parse_position
from eventstore.records import RecordedEvent
from varve.bootstrap import event_types
from varve.cli.events_states import diff, opened_stream, state
from varve.cli.events_stats import stats
from varve.cli.events_void import void
from varve.cli.log_access import log_settings, open_log
from varve.cli.output import AsJson, OfTenant, Stream, show, show_json
from varve.cli.schemas import schemas
from varve.settings import Settings

app = typer.Typer(no_args_is_help=True, help="The log.")
app.command()(state)
app.command()(diff)
app.command()(stats)
app.command()(void)
app.command()(schemas)

_WINDOW = 500
_PAUSE_SECONDS = 0.3


@app.command()
def tail(
    *,
    after: Annotated[str | None, typer.Option(help="Begin after this position; from the beginning, if absent.")] = None,
    tenant: Annotated[str | None, typer.Option(help="Only this tenant's events.")] = None,
    topic: Annotated[str | None, typer.Option(help="Only this topic, such as knowledge.DocumentUploaded.")] = None,
    follow: Annotated[bool, typer.Option("--follow", help="Go on as events come, until Ctrl-C.")] = False,
    as_json: AsJson = False,
) -> None:
    """Print the log in its one order, each event on a line."""
    settings = log_settings()
    wanted = LogFilter(topics=frozenset() if topic is None else frozenset({topic}), tenant=tenant)

    async def run() -> None:
        async for recorded, epoch in _log(settings, after, wanted, follow=follow):
            _show_event(recorded, epoch, as_json=as_json)

    asyncio.run(run())


@app.command("show")
def show_stream(stream: Stream, *, tenant: OfTenant = "demo", as_json: AsJson = False) -> None:
    """Print the events of one stream, oldest first."""
    settings = log_settings()

    async def run() -> None:
        async with opened_stream(settings, tenant, stream) as opened:
            async for recorded in opened.events():
                _show_event(recorded, opened.epoch, as_json=as_json)

    asyncio.run(run())


async def _log(
    settings: Settings, token: str | None, wanted: LogFilter, *, follow: bool
) -> AsyncIterator[tuple[RecordedEvent, str]]:
    """Yield the log after a position; windows of bounded size, none of them in a long transaction."""
    reader = LogReader(event_types())
    async with open_log(settings) as connection:
        after = 0 if token is None else parse_position(token, await read_epochs(connection))
        while True:
            window = await reader.window(connection, after, _WINDOW, wanted)
            for recorded in window.events:
                yield recorded, window.epoch
            after = window.scanned_to
            if window.is_full:
                continue
            if not follow:
                return
            await asyncio.sleep(_PAUSE_SECONDS)


def _show_event(recorded: RecordedEvent, epoch: str, *, as_json: bool) -> None:
    event: dict[str, Any] = {
        "position": str(LogPosition(epoch, recorded.position)),
        "tenant": recorded.tenant,
        "stream": recorded.stream,
        "version": recorded.version,
        "topic": recorded.event.TOPIC,
        "recorded_at": recorded.recorded_at.isoformat(),
        "actor": recorded.metadata.actor,
        "data": recorded.event.model_dump(mode="json"),
        "metadata": recorded.metadata.model_dump(mode="json"),
    }
    if as_json:
        show_json(event)
        return
    name = type(recorded.event).__name__
    place = f"{recorded.stream}@{recorded.version}"
    show(
        f"{event['position']:<20}  {event['recorded_at']}  {recorded.tenant:<12}  {name:<28}  {place}  {event['actor']}"
    )
