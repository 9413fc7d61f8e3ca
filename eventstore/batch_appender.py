"""Group commit: folds whatever appends are waiting into one transaction, and gives each caller its own outcome.

One appender per process. While a batch is on its way the next one gathers, so nothing is ever delayed to fill a batch.
The idea is that of every database's group commit (DeWitt et al., 1984, "Implementation techniques for main memory
database systems"); here it also orders the log, since batches stand in line for one lock.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from time import time_ns
from typing import Any
from uuid import UUID

import psycopg
import structlog

from domain.shared.ids import uuid7
from eventstore.background import running_beside
from eventstore.batch import Abandoned, Again, Batch, BatchAnswer, Outcome, known
from eventstore.errors import EventStoreError, InvalidAppend, StoreUnavailable
from eventstore.prepare import PreparedAppend
from eventstore.records import Appended
from eventstore.waiting import BatchLimits, Waiting, WaitingAppends
from eventstore.writer_session import WriterSession

log = structlog.get_logger()

_OUTAGE_SECONDS = 8.0
"""How long an append waits for a database that is away before its caller is told."""
_RECONNECT_SECONDS = (0.0, 0.05, 0.1, 0.2, 0.5)
_MOST_UNSETTLED = 10_000
_PASSING = (  # the server's own troubles: the same batch may pass a moment later
    psycopg.errors.LockNotAvailable,
    psycopg.errors.QueryCanceled,
    psycopg.errors.TransactionTimeout,
    psycopg.errors.SerializationFailure,
    psycopg.errors.DeadlockDetected,
    psycopg.errors.InsufficientResources,
    psycopg.errors.OperatorIntervention,
)

Settled = tuple[str, UUID]


class BatchAppender:
    """Appends on behalf of all tasks of one event loop; made by `open_batch_appender`.

    A lost connection leaves outcomes unknown. They are looked up under the log's lock as soon as there is a connection
    again: what is not there is sent again. Whoever can't wait for that is told so, and then what is not there is marked
    as abandoned, so that it can not arrive later.
    """

    def __init__(
        self,
        database_url: str,
        on_append: Callable[[], None] = lambda: None,
        limits: BatchLimits = BatchLimits(),  # noqa: B008 - an immutable value
    ) -> None:
        self._database_url = database_url
        self._on_append = on_append
        self._limits = limits
        self._waiting = WaitingAppends(limits)
        self._is_due = asyncio.Event()
        self._session: WriterSession | None = None
        self._head = 0
        self._to_abandon: dict[Settled, None] = {}

    async def append(self, prepared: PreparedAppend) -> Appended:
        """Store `prepared` and return its position, or the outcome of the command that was stored before it.

        Cancelling the caller leaves an append that was sent as it is, and takes out one that was not.

        Raises:
            StreamConflict: a stream has moved on.
            ClaimTaken: another stream holds a claim.
            CounterLimited: a counter has no room.
            BoundaryCrossed: an event that the decision had to know has come.
            AlreadyTracked: the upstream position was dealt with before.
            KeyReused: the idempotency key stands for another request.
            InvalidAppend: the database can't store it.
            AppenderBusy: too many appends are waiting; nothing was stored.
            StoreUnavailable: no connection; the outcome is unknown.
        """
        loop = asyncio.get_running_loop()
        waiting = Waiting(prepared, loop.create_future(), loop.time() + _OUTAGE_SECONDS)
        self._waiting.add(waiting)
        self._is_due.set()
        return await waiting.future

    async def run(self) -> None:
        """Append until cancelled; callers that still wait are then told that their outcome is unknown."""
        try:
            while True:
                await self._is_due.wait()
                self._is_due.clear()
                while batch := self._waiting.take():
                    await self._store(batch)
                    await asyncio.sleep(0)  # whoever was answered may append again, into the next batch
        finally:
            for waiting in self._waiting.drain():
                _fail(waiting, StoreUnavailable("the appender was stopped"))
            if self._session is not None:
                await self._session.close()

    async def _store(self, batch: list[Waiting]) -> None:
        """Bring `batch` to an end, or put what is still open in front of the queue."""
        try:
            session = await self._connected(batch)
            if session is not None and (unsettled := [each for each in batch if each.was_sent]):
                await self._settle(session, unsettled)
                self._waiting.add_first([each for each in batch if not each.future.done()])
            elif session is not None:
                await self._send(session, batch)
        except asyncio.CancelledError:
            self._give_up(batch, StoreUnavailable("the appender was stopped"))
            raise
        except (psycopg.OperationalError, psycopg.InterfaceError, TimeoutError, OSError) as error:
            log.warning("append.connection_lost", error=str(error), appends=len(batch))
            await self._disconnect()
            self._waiting.add_first(batch)
        except Exception as error:  # the appender must live on, whatever one batch does
            log.exception("append.failed", appends=len(batch))
            await self._disconnect()
            self._give_up(batch, error)

    async def _connected(self, batch: list[Waiting]) -> WriterSession | None:
        """Return the session, opened anew if need be; None when the batch could not wait for it any longer."""
        if self._session is not None and not self._session.is_lost:
            return self._session
        await self._disconnect()
        loop = asyncio.get_running_loop()
        tries = 0
        while True:
            try:
                self._session = session = await WriterSession.open(self._database_url)
            except (psycopg.OperationalError, TimeoutError, OSError) as error:
                remaining = max(each.deadline for each in batch) - loop.time()
                if remaining <= 0:
                    self._give_up(batch, StoreUnavailable(str(error)))
                    return None
                await asyncio.sleep(min(remaining, _RECONNECT_SECONDS[min(tries, len(_RECONNECT_SECONDS) - 1)]))
                tries += 1
            else:
                await self._begin(session)
                return session

    async def _begin(self, session: WriterSession) -> None:
        """Mark a promoted server before anything is appended to it, and abandon what was answered as unknown."""
        asked = [(tenant, append_id, True) for tenant, append_id in self._to_abandon]
        answer = await session.settle(asked, self._head)
        self._head = max(self._head, answer.head)
        self._to_abandon.clear()

    async def _settle(self, session: WriterSession, unsettled: list[Waiting]) -> None:
        """Look up what became of appends whose connection was lost; what is absent is to be sent again."""
        # An append without a command's row can't be recognised should it arrive twice: the lost one is abandoned.
        asked = [(each.prepared.tenant, each.prepared.append_id, each.prepared.command is None) for each in unsettled]
        answer = await session.settle(asked, self._head)
        for number, waiting in enumerate(unsettled, start=1):
            found = answer.refusals[str(number)]
            waiting.was_sent = False
            match found["result"]:
                case "known":
                    _answer(waiting, known(found, answer.epoch))
                case "stored":
                    _answer(waiting, _stored(waiting.prepared, found["position"], answer))
                case "abandoned" if waiting.prepared.command is not None:
                    _fail(waiting, StoreUnavailable("the append was given up"))
                case "abandoned":
                    waiting.prepared = waiting.prepared.with_new_id(uuid7(time_ns() // 1_000_000))
                case _:
                    pass  # absent: it is sent again as it is

    async def _send(self, session: WriterSession, waiting: list[Waiting]) -> None:
        batch = Batch.of([each.prepared for each in waiting])
        by_append = {id(each.prepared): each for each in waiting}
        for each in waiting:
            each.was_sent = True
        try:
            answer = await session.append(batch.parameters())
        except psycopg.Error as error:
            if session.is_lost:
                raise
            for each in waiting:
                each.was_sent = False
            await self._refused_by_server(session, waiting, error)
            return
        self._head = max(self._head, answer.head)
        self._deliver([by_append[id(each)] for each in batch.appends], batch.outcomes(answer))

    async def _refused_by_server(self, session: WriterSession, waiting: list[Waiting], error: psycopg.Error) -> None:
        """Halve a batch that failed as a whole, until only the guilty one is left; nothing of it was stored."""
        if isinstance(error, _PASSING):
            log.warning("append.retried", error=str(error), appends=len(waiting))
            now = asyncio.get_running_loop().time()
            for each in waiting:
                if each.deadline <= now:
                    _fail(each, StoreUnavailable(str(error)))
            self._waiting.add_first([each for each in waiting if not each.future.done()])
            await asyncio.sleep(_RECONNECT_SECONDS[1])
        elif len(waiting) == 1:
            log.warning("append.refused_by_server", error=str(error))
            _fail(waiting[0], InvalidAppend(str(error)))
        else:
            half = len(waiting) // 2
            await self._send(session, waiting[:half])
            await self._send(session, waiting[half:])

    def _deliver(self, waiting: Sequence[Waiting], outcomes: Sequence[Outcome]) -> None:
        again: list[Waiting] = []
        has_events = False
        for each, outcome in zip(waiting, outcomes, strict=True):
            each.was_sent = False
            match outcome:
                case Appended():
                    has_events = has_events or (each.prepared.event_count > 0 and not outcome.is_repeated)
                    _answer(each, outcome)
                case Again():
                    each.prepared = each.prepared.alone()
                    again.append(each)
                case Abandoned():
                    _fail(each, StoreUnavailable("the append was given up"))
                case EventStoreError():
                    _fail(each, outcome)
        if again:
            self._waiting.add_first(again)
        if has_events:
            self._on_append()

    def _give_up(self, batch: list[Waiting], error: Exception) -> None:
        for each in batch:
            if each.was_sent and len(self._to_abandon) < _MOST_UNSETTLED:
                self._to_abandon[each.prepared.tenant, each.prepared.append_id] = None
            _fail(each, error)

    async def _disconnect(self) -> None:
        session, self._session = self._session, None
        if session is not None:
            await session.close()


@asynccontextmanager
async def open_batch_appender(
    database_url: str,
    on_append: Callable[[], None] = lambda: None,
    limits: BatchLimits = BatchLimits(),  # noqa: B008 - an immutable value
) -> AsyncIterator[BatchAppender]:
    """Run an appender.

    Args:
        database_url: of the role `varve_writer`, and of the database itself: a pooler must not share its session.
        on_append: called after every batch that stored events.
        limits: of a batch and of what may wait.
    """
    appender = BatchAppender(database_url, on_append, limits)
    async with running_beside(appender.run()):
        yield appender


def _answer(waiting: Waiting, appended: Appended) -> None:
    if not waiting.future.done():
        waiting.future.set_result(appended)


def _fail(waiting: Waiting, error: Exception) -> None:
    if not waiting.future.done():
        waiting.future.set_exception(error)


def _stored(prepared: PreparedAppend, position: int, answer: BatchAnswer) -> Appended:
    outcome: dict[str, Any] = {}
    return Appended(position, answer.epoch, answer.recorded_at, prepared.append_id, "accepted", outcome, None, False)
