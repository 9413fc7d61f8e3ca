"""Runs one lane: batch after batch, rows and position in one transaction; what can't be applied is put aside."""

import asyncio
import contextlib
import time
import traceback
from collections.abc import Awaitable, Callable, Collection, Iterable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from typing import Any, TypeVar

import psycopg
import structlog
from opentelemetry import propagate, trace
from psycopg_pool import AsyncConnectionPool

from eventstore.background import until_set
from eventstore.decoding import collection_put_off
from eventstore.fault_log import FAULTS
from eventstore.faults import DependencyError, fault_of, meaning_of
from eventstore.log import UndecodableEvent, UnknownEvent
from eventstore.log_filter import LogFilter
from eventstore.metrics import measured
from eventstore.pipelines import pipelined_transaction
from eventstore.records import RecordedEvent
from eventstore.slots import SLOTS, SlotRange, slot_of
from eventstore.sqlstates import Meaning
from eventstore.thinning import decoded_at_once
from projections.checkpoints import Checkpoints
from projections.courtesy import Courtesy
from projections.definition import Connection, NotReadyError, Projection
from projections.filling import FillRoom
from projections.generations import index_when_filled
from projections.isolation import (
    Culprit,
    Ending,
    HungFoldError,
    Isolation,
    LaneChildren,
    NoteStage,
    Order,
    Result,
    Stage,
    allowed_seconds,
    is_death,
)
from projections.leases import (
    LaneLease,
    LeaseLostError,
    advance,
    checkpoint_of,
    clear_suspicion,
    hold,
    leave_to_newer_code,
    note_failure,
    note_progress,
    note_suspicion,
)
from projections.metrics import batch_duration, batch_events
from projections.parking import Aside, Parked, note_failed_again, park, parked, remove, skipped
from projections.preparation import prepared_by
from projections.rebuilds import end_when_caught_up, pause
from projections.shared_log import SharedLog, SharedWindow
from projections.suspects import passes
from projections.unknown_events import is_left_out

log = structlog.get_logger()
tracer = trace.get_tracer("varve.projections")

_BACKOFF_SECONDS = (0.1, 0.5, 2.0, 5.0, 10.0)
_NOT_READY_SECONDS = 1.0
_LEVEL_SECONDS = 0.05
"""How soon a generation that is compared with the live one looks again whether that is far enough."""
_HEAVY_SECONDS = 0.25
"""From the begin of one batch of a heavy projection to that of the next, at the least, at the log's head."""
_TRIES = 3
"""How often an event fails by itself before it is parked."""
_MOST_PARKED_IN_A_ROW = 5
"""When so many fail and none in between is applied, it is the projection that is wrong, and not the events."""
_RETRIED_AT_ONCE = 10  # each may have some megabytes
_MOST_FILLED_SECONDS = 60.0
"""After these, rests not counted, a rebuild keeps what it has; a worker that dies before begins anew."""
_MAX_LINKS = 64
_HUNG_SECONDS = 15.0
"""A batch that takes so much longer than it may is cancelled, and run in a child: its thread may go on for ever."""
_READ_SECONDS = 1.2
"""For a window in a child, without what the database takes."""
_NO_CHILD = "no child could begin: the worker's log says why"
_NO_CHILD_SECONDS = 2.0
_LONG_SECONDS = 60.0
"""For writing the rows of a whole lane, and for its indexes, in a child."""

Step = Callable[[str], None]
T = TypeVar("T")


class _AllFailError(Exception):
    """One event after another fails."""


class Lane:
    """One lane of one generation, run by the task that has its lease.

    A batch that fails is halved until the events that fail are alone. Such an event is tried again a few times and then
    parked; later ones of its partition wait behind it, and everything else goes on.

    A live lane of a heavy projection waits for one of the process's `turns` before it writes, and begins batches at a
    slower pace: of many events more go with each commit, and what is quick finds a processor free.

    A lane that is suspected of having ended its worker gives its steps to a child process (`projections.isolation`),
    one after the other, until what it stood at is applied or parked.

    `helpers` tells the processes that do a part of its work: a rebuild rests for what they take, too.

    `on_step` is told each named point that a crash may fall on; the fault tests die there. `note_stage` is told each
    step that begins, and how long it may take: in a child, whose worker waits for it.
    """

    def __init__(
        self,
        projection: Projection,
        lease: LaneLease,
        *,
        pool: AsyncConnectionPool[Any],
        shared_log: SharedLog,
        checkpoints: Checkpoints,
        turns: asyncio.Semaphore,
        poll_seconds: float,
        on_step: Step,
        children: LaneChildren | None = None,
        note_stage: NoteStage = lambda _: None,
        helpers: Callable[[], Iterable[int]] = tuple,
    ) -> None:
        self._projection = projection
        self._helpers = helpers
        self._lease = lease
        self._pool = pool
        self._shared_log = shared_log
        self._checkpoints = checkpoints
        self._turns = turns
        self._poll_seconds = poll_seconds
        self._on_step = on_step
        self._note_stage = note_stage
        self._isolation = None if children is None else Isolation(projection, children, shared_log)
        self.is_suspected = lease.losses > 0
        self._has_hung = False
        self.may_have_stuck_thread = False
        """Whether a fold that hung on a thread of this process was found to be an event's fault."""
        self._end: int | None = None
        """The position that a child goes up to; None for a lane that goes on and on."""
        self._position = lease.position
        self._is_building = lease.status == "building"
        self._is_indexed = not self._is_building
        self._can_fill = True
        self._is_filled = lease.position > 0 and projection.bulk() is not None
        self._slots = range(lease.first_slot, lease.last_slot + 1)
        self._wake = asyncio.Event()
        self._is_ready = asyncio.Event()
        self._must_look = True
        self._blocked: set[str] = set()
        """The partitions of which something is parked."""
        self._skipped: frozenset[int] = frozenset()
        self._left_out: set[int] = set()
        """The positions of unknown events that operators voided or skipped, which this lane has met."""
        self._failures: dict[int, Aside] = {}
        """What has failed by itself since the lane began, by position."""
        self._parked_in_a_row = 0
        self._window: Sequence[RecordedEvent] = ()
        """The events of the window that is being applied."""

    def wake(self) -> None:
        self._wake.set()

    def wake_waiting(self) -> None:
        """Try again what was not ready."""
        self._is_ready.set()

    def look_at_parked(self) -> None:
        """Look what operators asked for, at the next step."""
        self._must_look = True
        self._wake.set()

    @property
    def _is_heavy(self) -> bool:
        return self._projection.IS_HEAVY and not self._is_building

    def is_run_under(self, lease: LaneLease) -> bool:
        """Whether `lease` is the one that the lane runs under, maybe prolonged."""
        return (self._lease.fence, self._lease.epoch) == (lease.fence, lease.epoch)

    def note_prolonged(self, lease: LaneLease) -> None:
        """Learn what is to become of the generation now, and up to where it goes: operators change that."""
        if (lease.purpose, lease.up_to) != (self._lease.purpose, self._lease.up_to):
            self._wake.set()
            self.is_suspected = self.is_suspected or lease.losses > 0
        self._lease = lease
        self._is_building = lease.status == "building"

    async def run(self) -> None:
        """Apply events until cancelled, until the lease is lost, or until the lane is of no use for this code."""
        failures = 0
        while True:
            rest, wake, began = self._poll_seconds, self._wake, time.monotonic()
            try:
                may_move = await self._step()
                failures = 0
            except LeaseLostError:
                log.warning("lane.lease_lost", lane=self._lease.key)
                return
            except NotReadyError:
                # More events change nothing: each look at the batch cuts its texts once more.
                may_move, rest, wake = False, min(rest, _NOT_READY_SECONDS), self._is_ready
            except Exception as error:  # noqa: BLE001 - whatever a fold raises must end no more than its own lane
                if await self._has_ended(error, failures):
                    return
                await asyncio.sleep(_rest_after(error, failures))
                failures += 1
                continue
            if not may_move:
                if self._is_building and self._lease.purpose in {"verify", "repair"}:
                    rest = min(rest, _LEVEL_SECONDS)
                await until_set(wake, rest)
                if self._is_heavy:
                    await asyncio.sleep(began + _HEAVY_SECONDS - time.monotonic())

    async def _has_ended(self, error: Exception, failures: int) -> bool:
        """Show on the lane what is wrong, after so many failures before; return whether this worker is done with it."""
        if isinstance(error, MemoryError | HungFoldError):
            self.is_suspected = True
            self._has_hung = self._has_hung or isinstance(error, HungFoldError)
        fault = fault_of(error)
        if fault.has_no_connection:
            FAULTS.note("lane.database_lost" if fault.is_lost else "lane.not_connected", error, lane=self._lease.key)
            return False
        if fault.meaning is Meaning.PASSING and not failures:
            FAULTS.note("lane.retried", error, lane=self._lease.key)
            return False
        with contextlib.suppress(psycopg.Error):
            async with self._pool.connection() as connection:
                match error:
                    case UnknownEvent():
                        log.warning("lane.needs_newer_code", lane=self._lease.key, error=str(error))
                        await leave_to_newer_code(connection, self._lease, error)
                        return True
                    case MemoryError() | HungFoldError():
                        log.error("lane.suspected", lane=self._lease.key, position=self._position, error=repr(error))
                        await note_suspicion(connection, self._lease)
                    case _AllFailError():
                        log.error("projection.paused", lane=self._lease.key, error=str(error))
                        await pause(connection, self._lease.projection, str(error), self._lease.generation)
                        return True
                    case _:
                        await note_failure(connection, self._lease, _name_of(error))
        if fault.meaning is Meaning.OF_THE_EVENT:
            log.error("lane.failed", lane=self._lease.key, position=self._position, exc_info=error)
        else:
            FAULTS.note("lane.failed", error, lane=self._lease.key, position=self._position)
        return False

    async def run_alone(self, end: int, *, fills: bool) -> Result:
        """Do what is to be done up to the position `end`, as a child in which nothing else runs.

        Whatever the worker itself can deal with ends it as passed: the worker meets it again.

        Raises:
            MemoryError: it needs more than it may have.
        """
        self._end, self._can_fill = end, fills
        try:
            if self._must_look:
                await self._look()
            while self._position < end and await self._step():  # a log that was put back may end before
                pass
        except LeaseLostError:
            return "lost"
        except NotReadyError:
            return "waiting"
        except MemoryError:
            raise
        except Exception as error:  # noqa: BLE001 - see above
            log.warning("lane.child_ended", lane=self._lease.key, error=repr(error))
            return "away" if meaning_of(error) is Meaning.PASSING else "passed"
        return "passed"

    async def _step(self) -> bool:
        """Apply one window; return whether there may be more to do at once."""
        self._wake.clear()
        self._is_ready.clear()
        if self._must_look:
            await self._look()
        if self.is_suspected:
            await self._isolate()
        if self._is_building and self._position == 0 and self._can_fill and not await self._has_filled():
            return True
        if self._is_filled and not self._is_indexed:
            await self._index()  # batches need them: what they do not find by an index, they look for in all rows
        window = await self._next_window()
        if window is None:
            return True
        self._shared_log.note(self._lease.key, is_behind=window.is_full)
        if self._is_building and not window.is_full and self._end is None:
            await self._finish()
        if window.scanned_to == self._position:
            return False
        taken = window.taken_by(self._projection, self._slots)
        self._window = taken
        *batches, last = _batches(self._projection, [event for event in taken if event.position not in self._skipped])
        courtesy = Courtesy(self._helpers) if self._is_building and self._projection.IS_HEAVY else None
        for batch in batches:
            await self._apply(batch, batch[-1].position)
            if courtesy is not None:
                await courtesy.rest()
        await self._apply(last, window.scanned_to)
        return window.is_full or self._is_building

    async def _next_window(self) -> SharedWindow | None:
        """Return the window that begins at the lane's position; None when its first event was passed instead."""
        self._note_stage(Stage(_READ_SECONDS))
        try:
            return await _unless_hung(self._shared_log.window(self._position, self._wanted()), _HUNG_SECONDS)
        except UndecodableEvent as error:
            await self._pass_undecodable(error)
        except UnknownEvent as error:
            await self._leave_out(error)
            await self._write([], [], error.position)
            self._position = error.position
        return None

    async def _has_filled(self) -> bool:
        """Fill the generation; return False when that begins anew, without an event that operators took out."""
        try:
            await self._fill()
        except UnknownEvent as error:
            await self._leave_out(error)
            self._can_fill = True
            return False
        return True

    async def _isolate(self) -> None:
        """Have children do what the lane stands at, until it is applied, or parked."""
        if self._isolation is not None:
            fills = self._is_building and self._position == 0 and self._can_fill
            order: Order | None = await self._isolation.first_order(self._lease, self._position, fills=fills)
            has_work = order is not None and order.to > self._position
            while order is not None and (order.to > self._position or self._must_look):
                self._must_look = False
                order = await self._after(order, await self._isolation.run(order))
            # What is compared with the live rows is folded at the end, in the worker: there it may have died, too.
            if has_work or self._lease.purpose not in {"verify", "repair"}:
                async with self._pool.connection() as connection:
                    await clear_suspicion(connection, self._lease)
        self.is_suspected = self._has_hung = False
        await self._look()

    async def _after(self, order: Order, ending: Ending) -> Order | None:
        """Note what a child has done, and how it ended; return what the next one is to do."""
        async with self._pool.connection() as connection:
            position = await checkpoint_of(connection, self._lease)
        if position > self._position:
            self._position, self._can_fill = position, False
            self._is_filled = self._projection.bulk() is not None
        if self._isolation is None or not is_death(ending.kind):
            return await self._begun_again(order, ending) if ending.kind in {"away", "waiting"} else None
        self.may_have_stuck_thread = self.may_have_stuck_thread or self._has_hung
        if ending.retried is not None:
            self._must_look = True
            await self._note_retry(*ending.retried, ending.kind)
            return order
        found = await self._isolation.after_death(order, self._position, ending.kind)
        if isinstance(found, Order):
            return found
        await self._put_aside(found)
        return order

    async def _begun_again(self, order: Order, ending: Ending) -> Order:
        """Return `order` after a pause: its child could not begin, lost the database, or waits for what is made."""
        if ending.kind == "away":
            async with self._pool.connection() as connection:
                await note_failure(connection, self._lease, _NO_CHILD)
        await asyncio.sleep(_NO_CHILD_SECONDS)
        return order

    async def _put_aside(self, culprit: Culprit) -> None:
        """Park an event that ends its process, if it is for this lane, and pass it."""
        aside = None if self._isolation is None else self._isolation.aside(culprit, self._slots)
        log.error("event.ends_process", lane=self._lease.key, position=culprit.position, death=culprit.death)
        await self._write([], [] if aside is None or culprit.position in self._skipped else [aside], culprit.position)
        self._position = culprit.position

    async def _fill(self) -> None:
        """Fold the log in memory and write all rows at once, up to its head or to what memory may hold."""
        self._can_fill = False  # should it fail, batches find out at which event
        bulk = self._projection.bulk()
        if bulk is None:
            return
        is_chosen = self._slot_range is not None
        is_by_stream = self._projection.partitioned_by() == "stream"
        left_out = self._skipped | self._left_out
        thinning = self._shared_log.thinning(self._projection.OVERWRITING if is_by_stream else (), left_out)
        courtesy = Courtesy(self._helpers)
        room = FillRoom(bulk, thinning)

        async def fold(events: Sequence[RecordedEvent]) -> None:
            self._note_stage(Stage(self._allowed_seconds(events)))
            bulk.add(self._taken(events, is_chosen=is_chosen))
            if self._wake.is_set():  # somebody appends
                self._wake.clear()
                courtesy.note_company()
            await courtesy.rest()

        position, told = 0, 0.0
        wanted = replace(self._lease.wanted, slots=self._slot_range)
        # Who fetches while it rests makes PostgreSQL work while others are to have the processors.
        stretches = self._shared_log.stretches(0, wanted, lambda: not courtesy.has_company)
        with collection_put_off():  # it would go through all rows, which stay, again and again
            async with contextlib.aclosing(stretches) as windows:
                async for window in windows:
                    for rows in decoded_at_once(window.rows):
                        await fold(thinning.events(rows))
                    position = window.scanned_to
                    if await room.is_used_up_by(window.rows) or courtesy.worked > _MOST_FILLED_SECONDS:
                        break
                    if time.monotonic() - told > 1:
                        told = time.monotonic()
                        async with self._pool.connection() as connection:
                            await note_progress(connection, self._lease, position)
            for events in thinning.rest():
                await fold(events)
        self._note_stage(Stage(_LONG_SECONDS))
        async with self._pool.connection() as connection, connection.transaction():
            await bulk.write(connection, self._lease.tables)
            self._on_step("rows_written")
            await advance(connection, self._lease, 0, position)
        self._position = position
        self._is_filled = True
        log.info("lane.filled", lane=self._lease.key, position=position, rows=bulk.size)
        self._on_step("committed")

    @property
    def _slot_range(self) -> SlotRange | None:
        """The lane's slots, as readers of the log choose by them; None for all, or where they can't."""
        by = self._projection.partitioned_by()
        return None if len(self._slots) == SLOTS or by is None else SlotRange(self._slots[0], self._slots[-1], by)

    def _wanted(self) -> LogFilter:
        """Return what to read: what others want too, or this lane's slots where it is the only one that is behind."""
        wanted = self._lease.wanted
        if self._end is not None:
            return replace(wanted, up_to=min(wanted.up_to, self._end))
        if self._shared_log.would_share(self._lease.key, self._position, wanted):
            return wanted
        return replace(wanted, slots=self._slot_range)

    def _taken(self, events: Sequence[RecordedEvent], *, is_chosen: bool) -> list[RecordedEvent]:
        """Return those of `events` that are to be folded; `is_chosen` says that all are of this lane's slots."""
        taken = [event for event in events if self._projection.takes(event)]
        if not is_chosen and len(self._slots) < SLOTS:
            taken = [event for event in taken if slot_of(self._projection.partition(event)) in self._slots]
        return taken

    async def _apply(self, events: Sequence[RecordedEvent], to: int) -> None:
        free, aside = self._sorted(events)
        try:
            await self._write(free, aside, to)
        except NotReadyError as error:
            ready = [event for event in events if event.position <= error.ready_to]
            if ready:
                await self._apply(ready, error.ready_to)
            raise
        except Exception as error:
            if not free or not await self._is_of(free, error):
                raise
            failure = error
        else:
            self._has_applied(free, aside, to)
            return
        if len(free) > 1:
            cut = free[(len(free) - 1) // 2].position
            await self._apply([event for event in events if event.position <= cut], cut)
            await self._apply([event for event in events if event.position > cut], to)
        else:
            await self._note_poison(free[0].tenant, free[0].position, self._projection.partition(free[0]), failure)
            await self._apply(events, to)

    async def _is_of(self, events: Sequence[RecordedEvent], error: Exception) -> bool:
        """Whether one of `events` is wrong, or is too much for a server that applies others."""
        if _is_of_the_fold(error) or not fault_of(error).may_be_of_one:
            return _is_of_the_fold(error)
        if len(events) > 1:
            return True
        partition, position = self._projection.partition(events[0]), events[0].position
        beside = [each for each in self._window if each.position > position]
        beside = [each for each in beside if self._projection.partition(each) not in self._blocked | {partition}]
        return await passes(self._pool, self._projection, self._lease.tables, beside)

    def _has_applied(self, free: Sequence[RecordedEvent], aside: Sequence[Aside], to: int) -> None:
        if free:
            self._parked_in_a_row = 0
        if self._failures:
            for position in [event.position for event in free] + [each.position for each in aside]:
                self._failures.pop(position, None)
        self._position = to
        self._on_step("committed")

    def _sorted(self, events: Sequence[RecordedEvent]) -> tuple[list[RecordedEvent], list[Aside]]:
        """Return what is to be applied, and what is put aside because of what is parked."""
        if not self._blocked:
            return list(events), []
        free: list[RecordedEvent] = []
        aside: list[Aside] = []
        for event in events:
            partition = self._projection.partition(event)
            if partition not in self._blocked:
                free.append(event)
            else:
                behind = Aside(event.position, event.tenant, partition)
                aside.append(self._failures.get(event.position, behind))
        return free, aside

    async def _write(self, events: Sequence[RecordedEvent], aside: Collection[Aside], to: int) -> None:
        if not events and not aside:
            await self._checkpoints.move(self._lease, self._position, to)
            return
        with (
            tracer.start_as_current_span("projection.batch", links=_links(events)) as span,
            measured(batch_duration, {"varve.projection": self._projection.NAME}),
        ):
            span.set_attribute("varve.projection", self._projection.NAME)
            span.set_attribute("varve.events", len(events))
            seconds = self._allowed_seconds(events)
            self._note_stage(Stage(seconds))
            prepared = await _unless_hung(self._prepared(events), _HUNG_SECONDS + seconds)
            turn = self._turns if self._is_heavy else contextlib.nullcontext()
            async with turn, self._pool.connection() as connection, self._transaction(connection):
                if events:
                    applying = self._projection.apply(connection, self._lease.tables, events, prepared)
                    await _unless_hung(applying, _HUNG_SECONDS + seconds)
                await park(connection, self._lease, aside)
                self._on_step("rows_written")
                await advance(connection, self._lease, self._position, to)
        self._projection.committed()
        batch_events.record(len(events), {"varve.projection": self._projection.NAME})
        log.debug("projection.applied", projection=self._projection.NAME, events=len(events), position=to)

    def _allowed_seconds(self, events: Sequence[RecordedEvent]) -> float:
        return allowed_seconds(len(events), sum(map(self._projection.weight, events)))

    def _transaction(self, connection: Connection) -> AbstractAsyncContextManager[Any]:
        return pipelined_transaction(connection) if self._projection.IS_PIPELINED else connection.transaction()

    async def _prepared(self, events: Sequence[RecordedEvent]) -> Any:
        """Have the projection fetch what it needs, on a connection that is free while the batch waits for its turn."""
        return await prepared_by(self._projection, self._pool, self._lease.tables, events) if events else None

    async def _note_poison(self, tenant: str, position: int, partition: str, error: Exception) -> None:
        """Wait before an event that failed by itself is tried again, or have it parked.

        Raises:
            _AllFailError: it is not the event that is wrong.
        """
        attempts = self._failures[position].attempts + 1 if position in self._failures else 1
        self._failures[position] = Aside(position, tenant, partition, _name_of(error), _stack_of(error), attempts)
        log.warning("event.failed", lane=self._lease.key, position=position, attempts=attempts, exc_info=error)
        if attempts < _TRIES:
            async with self._pool.connection() as connection:
                await note_failure(connection, self._lease, _name_of(error))
            await asyncio.sleep(_BACKOFF_SECONDS[attempts - 1])
            return
        self._parked_in_a_row += 1
        if self._parked_in_a_row >= _MOST_PARKED_IN_A_ROW:
            raise _AllFailError(f"{self._parked_in_a_row} events in a row fail: {_name_of(error)}")
        self._blocked.add(partition)

    async def _pass_undecodable(self, error: UndecodableEvent) -> None:
        """Park an event that this code can't read, if it is of a type that the projection takes."""
        partition = f"{error.tenant}/{error.stream}"  # what else a projection may be partitioned by can't be known
        topics = {event_class.TOPIC for event_class in self._projection.EVENTS}
        aside = []
        if error.topic in topics and slot_of(partition) in self._slots and error.position not in self._skipped:
            self._failures[error.position] = Aside(error.position, error.tenant, partition, attempts=_TRIES - 1)
            await self._note_poison(error.tenant, error.position, partition, error)
            aside.append(self._failures.pop(error.position))
        await self._write([], aside, error.position)
        self._position = error.position

    async def _leave_out(self, unknown: UnknownEvent) -> None:
        """Do without an event that this code does not know, if an operator voided or skipped it.

        That counts for a generation as of a past position, too, whenever it was done: there is no way to apply it.

        Raises:
            UnknownEvent: no operator did.
        """
        async with self._pool.connection() as connection:
            if not await is_left_out(connection, self._projection.NAME, unknown.position):
                raise unknown
        log.warning("event.left_out", lane=self._lease.key, position=unknown.position, topic=unknown.topic)
        self._left_out.add(unknown.position)

    async def _look(self) -> None:
        """Read what is parked and skipped, and retry what operators asked to be retried."""
        self._must_look = False
        try:
            async with self._pool.connection() as connection:
                self._skipped = await skipped(connection, self._lease)
                found = await parked(connection, self._lease)
            self._blocked = {partition for partition in found.positions if slot_of(partition) in self._slots}
            await self._retry_each(found)
        except BaseException:
            self._must_look = True
            raise

    async def _retry_each(self, found: Parked) -> None:
        """Retry what operators asked for; what has ended its process before, and what a suspect has, in a child."""
        to_retry = sorted(found.to_retry & self._blocked)
        if self._isolation is not None:
            errors = {error for partition in to_retry for error in found.errors.get(partition, ())}
            self.is_suspected = self.is_suspected or any(map(is_death, errors))
            if self.is_suspected:
                self._must_look = bool(to_retry)
                return
        for partition in to_retry:
            await self._retry(partition, found.positions[partition])

    async def _retry(self, partition: str, positions: Sequence[int]) -> None:
        """Apply what is parked of a partition, one by one and in order, up to what fails again."""
        at_once = _RETRIED_AT_ONCE if self._end is None else 1  # in a child each is to be told from the others
        for begin in range(0, len(positions), at_once):
            some = positions[begin : begin + at_once]
            self._note_stage(Stage(_READ_SECONDS, (partition, some[0])))
            try:
                wanted = [position for position in some if position not in self._skipped]
                events = {event.position: event for event in await self._shared_log.at(wanted, self._lease.wanted)}
            except (UndecodableEvent, UnknownEvent) as error:
                await self._note_retry(partition, error.position, _name_of(error), _stack_of(error))
                return
            for position in some:
                event = events.get(position)
                seconds = _READ_SECONDS if event is None else self._allowed_seconds([event])
                self._note_stage(Stage(seconds, (partition, position)))
                try:
                    await self._write_parked(position, event)
                except Exception as error:
                    if not (_is_of_the_fold(error) or fault_of(error).may_be_of_one):
                        raise
                    await self._note_retry(partition, position, _name_of(error), _stack_of(error))
                    return
        self._blocked.discard(partition)

    async def _write_parked(self, position: int, event: RecordedEvent | None) -> None:
        """Apply one parked event, unless it was voided or skipped since; either way it is parked no more."""
        events = [event] if event is not None and position not in self._skipped else []
        seconds = _HUNG_SECONDS + self._allowed_seconds(events)
        prepared = await _unless_hung(self._prepared(events), seconds)
        async with self._pool.connection() as connection, connection.transaction():
            await hold(connection, self._lease)
            if events:
                applying = self._projection.apply(connection, self._lease.tables, events, prepared)
                await _unless_hung(applying, seconds)
            await remove(connection, self._lease, [position])
        self._projection.committed()

    async def _note_retry(self, partition: str, position: int, error: str, stack: str | None = None) -> None:
        failed = Aside(position, "", partition, error, stack)
        log.warning("event.failed_again", lane=self._lease.key, position=position, error=error, stack=stack)
        async with self._pool.connection() as connection, connection.transaction():
            await hold(connection, self._lease)
            await note_failed_again(connection, self._lease, failed)

    async def _index(self) -> None:
        async with self._pool.connection() as connection:
            self._is_indexed = await index_when_filled(connection, self._projection, self._lease.tables)

    async def _finish(self) -> None:
        """End the building of the generation, if it is over, and its indexes are made."""
        if not self._is_indexed:
            await self._index()
        if not self._is_indexed:
            return
        async with self._pool.connection() as connection:
            is_over = await end_when_caught_up(connection, self._projection, self._lease, self._shared_log)
            self._is_building = not is_over


async def _unless_hung(work: Awaitable[T], seconds: float) -> T:
    """Return what `work` does.

    Raises:
        HungFoldError: it took longer than `seconds`, and was cancelled; a thread of it is left behind.
    """
    try:
        async with asyncio.timeout(seconds) as limit:
            return await work
    except TimeoutError as error:
        if not limit.expired():
            raise
        raise HungFoldError(f"no end after {seconds:g} s") from error


def _rest_after(error: Exception, failures: int) -> float:
    """Return for how many seconds to rest: the longer the more often it has failed, unless there is no connection."""
    if fault_of(error).has_no_connection:
        return _BACKOFF_SECONDS[0]
    return _BACKOFF_SECONDS[min(failures, len(_BACKOFF_SECONDS) - 1)]


def _is_of_the_fold(error: Exception) -> bool:
    """Whether an event, or how it is applied, is wrong: not the lease, what is not ready yet, or the database.

    Memory that is missing, and a fold that does not return, may be another lane's fault: that shows in a child.
    """
    is_elsewhere = isinstance(error, LeaseLostError | NotReadyError | MemoryError | HungFoldError)
    return not is_elsewhere and meaning_of(error) is Meaning.OF_THE_EVENT


def _stack_of(error: Exception) -> str:
    return "".join(traceback.format_exception(error))


def _name_of(error: Exception) -> str:
    """Return what operators of any tenant may see: the text of an error can hold rows of another; the log has it."""
    if isinstance(error, DependencyError):
        return f"{type(error).__name__} ({error.fault.kind})"
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
