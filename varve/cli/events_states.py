"""`varve events state` and `diff`: what an aggregate was at a version or a time, and what has changed in between."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from eventstore.errors import EventStoreError, UnknownEventType
from eventstore.persistence import acting_for
from eventstore.stream_reader import BEFORE_FIRST, StreamEvents, TenantStreams
from varve.bootstrap import event_types, open_application
from varve.cli.log_access import log_settings
from varve.cli.output import AsJson, OfTenant, Stream, show, show_json
from varve.pools import open_pool
from varve.settings import Settings

_MOMENT = "A version (3) or a time (2026-11-21T09:00:00Z)"


@dataclass(eq=False)
class UnappliableEvent(EventStoreError):
    """An aggregate has an event that this code does not know: it has no state from there on."""

    stream: str
    version: int
    reason: str

    def __str__(self) -> str:
        before = f"`--at {self.version - 1}` is the newest state before it" if self.version > 1 else "none is before it"
        return (
            f"{self.stream} has no state from its event {self.version} on: {self.reason}. {before}; "
            f"`varve events show` prints the event, and `varve events void` leaves it out."
        )


def state(
    stream: Stream,
    *,
    at: Annotated[str | None, typer.Option(help=f"{_MOMENT}; now, if absent.")] = None,
    tenant: OfTenant = "demo",
) -> None:
    """Print an aggregate's state at any version or time, folded from its events.

    It ends with an error at an event that this code does not know: a state without it never was.
    """
    settings = log_settings()
    found = _state(settings, tenant, stream, _version_at(settings, tenant, stream, at))
    show_json({"stream": stream, "version": found.version, "state": found.state})


def diff(
    stream: Stream,
    *,
    since: Annotated[str, typer.Option("--from", help=f"{_MOMENT}; 0 for nothing.")] = "0",
    to: Annotated[str | None, typer.Option(help=f"{_MOMENT}; now, if absent.")] = None,
    tenant: OfTenant = "demo",
    as_json: AsJson = False,
) -> None:
    """Print what has changed in an aggregate's state between two versions or times."""
    settings = log_settings()
    before, after = (
        _state(settings, tenant, stream, _version_at(settings, tenant, stream, moment)) for moment in (since, to)
    )
    changes = list(changes_between(before.state, after.state))
    if as_json:
        for change in changes:
            show_json({"path": change.path, "from": change.before, "to": change.after})
        return
    show(f"{stream}  version {before.version} to {after.version}: {len(changes)} changes")
    for change in changes:
        show(f"  {change.path}: {change.before!r} → {change.after!r}")


@asynccontextmanager
async def opened_stream(settings: Settings, tenant: str, stream: str) -> AsyncIterator[StreamEvents]:
    """Open a stream for reading.

    Raises:
        BadParameter: the tenant has no such stream.
    """
    async with open_pool(settings, "varve_reader", 1) as pool:
        opened = await TenantStreams(pool, event_types()).stream(tenant, stream)
        if opened.last_version == BEFORE_FIRST:
            raise typer.BadParameter(f"tenant {tenant} has no stream {stream}")
        yield opened


@dataclass(frozen=True, slots=True)
class Change:
    """A place in a state, such as ``tags[1]``, and what stood and stands there; None where nothing does."""

    path: str
    before: Any
    after: Any


def changes_between(before: Any, after: Any, path: str = "") -> Iterator[Change]:
    """Yield the smallest differences of two JSON values, in the order of their paths."""
    if isinstance(before, dict) and isinstance(after, dict):
        for name in sorted({*before, *after}):
            yield from changes_between(before.get(name), after.get(name), f"{path}.{name}" if path else name)
    elif isinstance(before, list) and isinstance(after, list):
        for index in range(max(len(before), len(after))):
            old, new = (each[index] if index < len(each) else None for each in (before, after))
            yield from changes_between(old, new, f"{path}[{index}]")
    elif before is None and isinstance(after, dict | list):
        yield from changes_between(type(after)(), after, path)
    elif after is None and isinstance(before, dict | list):
        yield from changes_between(before, type(before)(), path)
    elif before != after:
        yield Change(path, before, after)


@dataclass(frozen=True, slots=True)
class _StateAt:
    version: int
    state: dict[str, Any] | None


def _state(settings: Settings, tenant: str, stream: str, version: int | None) -> _StateAt:
    with open_application(settings, "varve_admin") as application, acting_for(tenant):
        aggregate_type = application.aggregate_types.of_stream(stream)
        if aggregate_type is None:
            raise typer.BadParameter("a stream's name begins with entry- or document-")
        if version == 0:
            return _StateAt(0, None)
        try:
            found = application.aggregate(aggregate_type, stream, version)
        except UnknownEventType as error:
            raise UnappliableEvent(stream, error.version or 0, str(error)) from error
    if found is None:
        raise typer.BadParameter(f"Varve wrote no event of {stream} in tenant {tenant}")
    return _StateAt(found.version, None if found.state is None else found.state.model_dump(mode="json"))


def _version_at(settings: Settings, tenant: str, stream: str, at: str | None) -> int | None:
    """Return the version that `at` means, None for the newest."""
    if at is not None and at.isdigit():
        return int(at)
    return asyncio.run(_version_at_moment(settings, tenant, stream, at))


async def _version_at_moment(settings: Settings, tenant: str, stream: str, at: str | None) -> int | None:
    async with opened_stream(settings, tenant, stream) as opened:
        if at is None:
            return None
        try:
            moment = datetime.fromisoformat(at)
        except ValueError as error:
            raise typer.BadParameter("a moment is a version or an ISO 8601 time") from error
        version = await opened.version_at(moment if moment.tzinfo else moment.replace(tzinfo=UTC))
        if version == BEFORE_FIRST:
            (first,) = await opened.window(limit=1)
            raise typer.BadParameter(f"{stream} did not exist at {at}; its first event is of {first.recorded_at}")
        return version
