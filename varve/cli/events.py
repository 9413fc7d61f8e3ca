"""`varve events`: the log itself, for audits. Only `void` writes."""

import asyncio
from collections.abc import AsyncIterator
from typing import Annotated, Any

import typer

from eventstore.epochs import read_epochs
from eventstore.log import LogReader
from eventstore.log_filter import APPLICATION, LogFilter
from eventstore.position import LogPosition, parse_position
from eventstore.shown import ShownEvent, shown
from eventstore.stream_reader import BEFORE_FIRST
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
    """Print the log in its one order, each event on a line.

    An event of another application, or one that this code doesn't know, is shown as it is stored, and marked.
    """
    settings = log_settings()
    wanted = LogFilter(topics=frozenset() if topic is None else frozenset({topic}), tenant=tenant, with_others=True)

    async def run() -> None:
        async for event, epoch in _log(settings, after, wanted, follow=follow):
            _show_event(event, epoch, as_json=as_json)

    asyncio.run(run())


@app.command("show")
def show_stream(stream: Stream, *, tenant: OfTenant = "demo", as_json: AsJson = False) -> None:
    """Print the events of one stream, oldest first; as `tail` does those that this code can't read."""
    settings = log_settings()

    async def run() -> None:
        async with opened_stream(settings, tenant, stream) as opened:
            after = BEFORE_FIRST
            while events := await opened.shown(after, with_others=True):
                for event in events:
                    _show_event(event, opened.epoch, as_json=as_json)
                after = int(events[-1].version or 0)

    asyncio.run(run())


async def _log(
    settings: Settings, token: str | None, wanted: LogFilter, *, follow: bool
) -> AsyncIterator[tuple[ShownEvent, str]]:
    """Yield the log after a position; windows of bounded size, none of them in a long transaction."""
    known = event_types()
    reader = LogReader(known)
    async with open_log(settings) as connection:
        after = 0 if token is None else parse_position(token, await read_epochs(connection))
        while True:
            fetched = await reader.fetch(connection, after, _WINDOW, wanted)
            for row in fetched.rows:
                yield shown(row, row[APPLICATION], known), fetched.epoch
            after = fetched.scanned_to
            if after < fetched.head:
                continue
            if not follow:
                return
            await asyncio.sleep(_PAUSE_SECONDS)


def _show_event(event: ShownEvent, epoch: str, *, as_json: bool) -> None:
    position = str(LogPosition(epoch, event.position))
    if as_json:
        show_json(_as_json(event, position))
        return
    place = f"{event.stream}@{event.version}"
    mark = "" if event.unknown is None else f"  unknown: {event.unknown}"
    show(
        f"{position:<20}  {event.recorded_at.isoformat()}  {event.tenant:<12}  {event.name:<28}  {place}  "
        f"{event.actor}{mark}"
    )


def _as_json(event: ShownEvent, position: str) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "position": position,
        "tenant": event.tenant,
        "stream": event.stream,
        "version": event.version,
        "topic": event.topic,
        "class_version": event.class_version,
        "recorded_at": event.recorded_at.isoformat(),
        "actor": event.actor,
        "data": event.data,
        "metadata": event.metadata,
    }
    if event.application is not None:
        fields["application"] = event.application
    if event.unknown is not None:
        fields["unknown"] = event.unknown
    return fields
