"""The only way into the log: one command's events, audit row and idempotency record, all or nothing."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from eventsourcing.persistence import Mapper
from opentelemetry import trace

from eventstore.batch_appender import BatchAppender, open_batch_appender
from eventstore.prepare import prepare
from eventstore.records import Append, Appended

tracer = trace.get_tracer("varve.eventstore")


class Appender:
    """Appends for commands; safe to share between the tasks of an event loop."""

    def __init__(self, batches: BatchAppender, mapper: Mapper[str]) -> None:
        self._batches = batches
        self._mapper = mapper

    async def append(self, append: Append) -> Appended:
        """Store `append` and return its position, or the outcome of the command that was stored before it.

        Raises:
            EventStoreError: one of those that `BatchAppender.append` names; nothing was stored unless it says so.
        """
        with tracer.start_as_current_span("eventstore.append") as span:
            span.set_attribute("varve.events", len(append.events))
            appended = await self._batches.append(prepare(append, self._mapper))
            span.set_attribute("varve.position", appended.position)
        return appended


@asynccontextmanager
async def open_appender(
    database_url: str, mapper: Mapper[str], on_append: Callable[[], None] = lambda: None
) -> AsyncIterator[Appender]:
    """Run an appender; the arguments are those of `open_batch_appender`, and what turns events into bytes."""
    async with open_batch_appender(database_url, on_append) as batches:
        yield Appender(batches, mapper)
