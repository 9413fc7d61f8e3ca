"""`varve events`: the log itself, for audits. Nothing here writes."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Annotated, Any

import psycopg
import typer

from eventstore.log import LogReader
from eventstore.persistence import acting_for
from eventstore.records import RecordedEvent
from eventstore.stream_reader import BEFORE_FIRST, StreamEvents, TenantStreams
from varve.bootstrap import event_types, open_application
from varve.cli.output import AsJson, running_settings, show, show_json
from varve.cli.schemas import schemas
from varve.pools import open_pool
from varve.settings import Settings

app = typer.Typer(no_args_is_help=True, help="The log.")
app.command()(schemas)

_WINDOW = 500
_PAUSE_SECONDS = 0.3

Stream = Annotated[str, typer.Argument(help="Such as entry-018f… or document-018f….")]
OfTenant = Annotated[str, typer.Option("--tenant", help="The tenant that has the stream.")]


@app.command()
def tail(
    *,
    after: Annotated[int, typer.Option(min=0, help="Begin after this position.")] = 0,
    tenant: Annotated[str | None, typer.Option(help="Only this tenant's events.")] = None,
    topic: Annotated[str | None, typer.Option(help="Only this topic, such as knowledge.DocumentUploaded.")] = None,
    follow: Annotated[bool, typer.Option("--follow", help="Go on as events come, until Ctrl-C.")] = False,
    as_json: AsJson = False,
) -> None:
    """Print the log in its one order, each event on a line."""
    settings = running_settings()

    async def run() -> None:
        async for recorded in _log(settings, after, follow=follow):
            if tenant in {None, recorded.tenant} and topic in {None, recorded.event.TOPIC}:
                _show_event(recorded, as_json=as_json)

    asyncio.run(run())


@app.command("show")
def show_stream(stream: Stream, *, tenant: OfTenant = "demo", as_json: AsJson = False) -> None:
    """Print the events of one stream, oldest first."""
    settings = running_settings()

    async def run() -> None:
        async with _opened(settings, tenant, stream) as opened:
            async for recorded in opened.events():
                _show_event(recorded, as_json=as_json)

    asyncio.run(run())


@app.command()
def state(
    stream: Stream,
    *,
    at: Annotated[
        str | None, typer.Option(help="A version (3) or a time (2026-11-21T09:00:00Z); now, if absent.")
    ] = None,
    tenant: OfTenant = "demo",
) -> None:
    """Print an aggregate's state at any version or time, folded from its events."""
    settings = running_settings()
    version = asyncio.run(_version_at(settings, tenant, stream, at))
    with open_application(settings, "varve_admin") as application, acting_for(tenant):
        aggregate_type = application.aggregate_types.of_stream(stream)
        if aggregate_type is None:
            raise typer.BadParameter("a stream's name begins with entry- or document-")
        found = application.repository.get(
            stream, version=version, projector_func=application.projector(aggregate_type)
        )
    value = None if found.state is None else found.state.model_dump(mode="json")
    show_json({"stream": stream, "version": found.version, "state": value})


async def _log(settings: Settings, after: int, *, follow: bool) -> AsyncIterator[RecordedEvent]:
    """Yield the log after a position; windows of bounded size, none of them in a long transaction."""
    reader = LogReader(event_types())
    async with await psycopg.AsyncConnection.connect(settings.role_url("varve_admin"), autocommit=True) as connection:
        while True:
            window = await reader.window(connection, after, _WINDOW)
            for recorded in window.events:
                yield recorded
            after = window.scanned_to
            if window.is_full:
                continue
            if not follow:
                return
            await asyncio.sleep(_PAUSE_SECONDS)


@asynccontextmanager
async def _opened(settings: Settings, tenant: str, stream: str) -> AsyncIterator[StreamEvents]:
    async with open_pool(settings, "varve_reader", 1) as pool:
        opened = await TenantStreams(pool, event_types()).stream(tenant, stream)
        if opened.last_version == BEFORE_FIRST:
            raise typer.BadParameter(f"tenant {tenant} has no stream {stream}")
        yield opened


async def _version_at(settings: Settings, tenant: str, stream: str, at: str | None) -> int | None:
    """Return the version that `at` means, None for the newest."""
    if at is not None and at.isdigit():
        return int(at)
    async with _opened(settings, tenant, stream) as opened:
        if at is None:
            return None
        try:
            moment = datetime.fromisoformat(at)
        except ValueError as error:
            raise typer.BadParameter("--at takes a version or an ISO 8601 time") from error
        version = await opened.version_at(moment if moment.tzinfo else moment.replace(tzinfo=UTC))
        if version == BEFORE_FIRST:
            (first,) = await opened.window(limit=1)
            raise typer.BadParameter(f"{stream} did not exist at {at}; its first event is of {first.recorded_at}")
        return version


def _show_event(recorded: RecordedEvent, *, as_json: bool) -> None:
    event: dict[str, Any] = {
        "position": recorded.position,
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
        f"{recorded.position:>8}  {event['recorded_at']}  {recorded.tenant:<12}  {name:<28}  {place}  {event['actor']}"
    )
