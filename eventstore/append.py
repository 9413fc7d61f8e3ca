"""The only way into the log: one command's events, audit row and idempotency record, all or nothing."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from eventsourcing.persistence import Mapper, StoredEvent
from opentelemetry import trace

from eventstore.batch_appender import BatchAppender, open_batch_appender
from eventstore.boundary import BoundaryCheck, open_boundary_check
from eventstore.metrics import append_duration, appended_events, measured
from eventstore.prepare import prepare
from eventstore.records import Append, Appended
from eventstore.turns import made_in_turns

tracer = trace.get_tracer("varve.eventstore")


class Appender:
    """Appends for commands; safe to share between the tasks of an event loop.

    Without a check before the lock, all that came after a boundary's position is looked at under it.
    """

    def __init__(self, batches: BatchAppender, mapper: Mapper[str], boundaries: BoundaryCheck | None = None) -> None:
        self._batches = batches
        self._mapper = mapper
        self._boundaries = boundaries

    async def append(self, append: Append) -> Appended:
        """Store `append` and return its position, or the outcome of the command that was stored before it.

        Raises:
            EventStoreError: one of those that `BatchAppender.append` names; nothing was stored unless it says so.
        """
        with tracer.start_as_current_span("eventstore.append") as span, measured(append_duration):
            span.set_attribute("varve.events", len(append.events))
            prepared = prepare(append, await _stored(append, self._mapper))
            if self._boundaries is not None:
                prepared = await self._boundaries.brought_forward(prepared)
            appended = await self._batches.append(prepared)
            if self._boundaries is not None:
                self._boundaries.note(appended.position)
            span.set_attribute("varve.position", appended.position)
        if not appended.is_repeated:
            appended_events.add(len(append.events))
        return appended


async def _stored(append: Append, mapper: Mapper[str]) -> list[StoredEvent]:
    """Encode the events, with pauses: those of a large batch take seconds."""
    return await made_in_turns(mapper.to_stored_event, append.events)


@asynccontextmanager
async def open_appender(
    database_url: str,
    mapper: Mapper[str],
    on_append: Callable[[], None] = lambda: None,
    on_new_history: Callable[[], None] = lambda: None,
) -> AsyncIterator[Appender]:
    """Run an appender; the arguments are those of `open_batch_appender`, and what turns events into bytes."""
    async with (
        open_boundary_check(database_url) as boundaries,
        open_batch_appender(database_url, on_append, on_new_history) as batches,
    ):
        yield Appender(batches, mapper, boundaries)
