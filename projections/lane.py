"""Runs one lane: batch after batch, rows and position in one transaction."""

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from typing import Any

import psycopg
import structlog
from opentelemetry import propagate, trace
from psycopg_pool import AsyncConnectionPool, PoolTimeout

from eventstore.records import RecordedEvent
from projections.definition import NotReadyError, Projection
from projections.generations import swap_when_caught_up
from projections.leases import LaneLease, LeaseLostError, advance, note_failure
from projections.shared_log import SharedLog

log = structlog.get_logger()
tracer = trace.get_tracer("varve.projections")

_BACKOFF_SECONDS = (0.1, 0.5, 2.0, 5.0, 10.0)
_MAX_LINKS = 64

Step = Callable[[str], None]


class Lane:
    """One lane of one generation, run by the task that has its lease.

    `on_step` is told each named point that a crash may fall on; the fault tests die there.
    """

    def __init__(
        self,
        projection: Projection,
        lease: LaneLease,
        *,
        pool: AsyncConnectionPool[Any],
        shared_log: SharedLog,
        poll_seconds: float,
        on_step: Step,
    ) -> None:
        self._projection = projection
        self._lease = lease
        self._pool = pool
        self._shared_log = shared_log
        self._poll_seconds = poll_seconds
        self._on_step = on_step
        self._position = lease.position
        self._is_building = lease.status == "building"
        self._wake = asyncio.Event()

    def wake(self) -> None:
        self._wake.set()

    def is_run_under(self, lease: LaneLease) -> bool:
        """Whether `lease` is the one that the lane runs under, maybe prolonged."""
        return (self._lease.fence, self._lease.epoch) == (lease.fence, lease.epoch)

    async def run(self) -> None:
        """Apply events until cancelled or until the lease is lost."""
        failures = 0
        while True:
            try:
                has_moved = await self._step()
                failures = 0
            except LeaseLostError:
                log.warning("lane.lease_lost", lane=self._lease.key)
                return
            except NotReadyError:
                has_moved = False
            except Exception as error:
                if _is_passing(error):
                    log.warning("lane.database_lost", lane=self._lease.key, error=str(error))
                    await asyncio.sleep(_BACKOFF_SECONDS[0])
                    continue
                log.exception("lane.failed", lane=self._lease.key, position=self._position)
                await self._report(error)
                await asyncio.sleep(_BACKOFF_SECONDS[min(failures, len(_BACKOFF_SECONDS) - 1)])
                failures += 1
                continue
            if not has_moved:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(self._poll_seconds):
                        await self._wake.wait()

    async def _step(self) -> bool:
        """Apply one window; return whether there was one."""
        self._wake.clear()
        window = await self._shared_log.window(self._position)
        if self._is_building and not window.is_full:
            await self._swap()
        if window.scanned_to == self._position:
            return False
        lease, projection = self._lease, self._projection
        events = [event for event in window.events if projection.takes(event, lease.lane, lease.lanes)]
        *batches, last = _batches(projection, events)
        for batch in batches:
            await self._apply(batch, batch[-1].position)
        await self._apply(last, window.scanned_to)
        return True

    async def _apply(self, events: Sequence[RecordedEvent], to: int) -> None:
        await self._write(events, to)
        self._position = to
        self._on_step("committed")

    async def _write(self, events: Sequence[RecordedEvent], to: int) -> None:
        async with self._pool.connection() as connection:
            if not events:
                await advance(connection, self._lease, self._position, to)
                return
            with tracer.start_as_current_span("projection.batch", links=_links(events)) as span:
                span.set_attribute("varve.projection", self._projection.NAME)
                span.set_attribute("varve.events", len(events))
                prepared = await self._projection.prepare(connection, self._lease.tables, events)
                async with connection.transaction():
                    await self._projection.apply(connection, self._lease.tables, events, prepared)
                    self._on_step("rows_written")
                    await advance(connection, self._lease, self._position, to)
        self._projection.committed()
        log.debug("projection.applied", projection=self._projection.NAME, events=len(events), position=to)

    async def _swap(self) -> None:
        async with self._pool.connection() as connection:
            self._is_building = not await swap_when_caught_up(connection, self._lease.tables)

    async def _report(self, error: Exception) -> None:
        with contextlib.suppress(psycopg.Error, PoolTimeout):
            async with self._pool.connection() as connection:
                await note_failure(connection, self._lease, _name_of(error))


def _is_passing(error: Exception) -> bool:
    """Whether the database is away: not so when it refuses what takes too long, which would take as long again."""
    if isinstance(error, psycopg.errors.QueryCanceled | psycopg.errors.TransactionTimeout):
        return False
    return isinstance(error, psycopg.OperationalError | psycopg.InterfaceError | PoolTimeout)


def _name_of(error: Exception) -> str:
    """Return what operators of any tenant may see: the text of an error can hold rows of another; the log has it."""
    state = getattr(error, "sqlstate", None)
    return type(error).__name__ if state is None else f"{type(error).__name__} ({state})"


def _batches(projection: Projection, events: Sequence[RecordedEvent]) -> list[list[RecordedEvent]]:
    """Cut `events` into batches that are light enough for one transaction; the last one may be empty."""
    batches: list[list[RecordedEvent]] = [[]]
    weight = 0
    for event in events:
        weight += projection.weight(event)
        if batches[-1] and weight > projection.BATCH:
            batches.append([])
            weight = projection.weight(event)
        batches[-1].append(event)
    return batches


def _links(events: Sequence[RecordedEvent]) -> list[trace.Link]:
    """Return links to the traces of the requests that appended `events`, each once and not too many."""
    parents = dict.fromkeys(event.metadata.traceparent for event in events if event.metadata.traceparent)
    contexts = (
        trace.get_current_span(propagate.extract({"traceparent": parent})).get_span_context()
        for parent in list(parents)[:_MAX_LINKS]
    )
    return [trace.Link(context) for context in contexts if context.is_valid]
