"""Group commit: folds whatever appends are waiting into one transaction, and gives each caller its own outcome.

One appender per process. While a batch is on its way the next one gathers, so nothing is ever delayed to fill a batch.
The idea is that of every database's group commit (DeWitt et al., 1984, "Implementation techniques for main memory
database systems"); here it also orders the log, since batches stand in line for one lock.
"""

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from uuid import UUID

import psycopg
import structlog

from eventstore.background import running_beside
from eventstore.batch import Abandoned, Again, Batch, BatchAnswer, Outcome, known, stored
from eventstore.errors import EventStoreError, HistoryChanged, InvalidAppend, StorageRefused, StoreUnavailable
from eventstore.fault_log import FAULTS
from eventstore.faults import fault_of
from eventstore.metrics import batch_size
from eventstore.pace import Pace
from eventstore.prepare import PreparedAppend
from eventstore.records import Appended
from eventstore.sqlstates import Meaning
from eventstore.waiting import BatchLimits, Waiting, WaitingAppends
from eventstore.writer_session import WriterSession

log = structlog.get_logger()

_RECONNECT_SECONDS = (0.0, 0.05, 0.1, 0.2, 0.5)
_AGAIN_SECONDS = 0.05
_MOST_UNSETTLED = 10_000
_LOST = (psycopg.OperationalError, psycopg.InterfaceError, TimeoutError, OSError)

_STOPPED = "the appender was stopped"

Settled = tuple[str, UUID]
"""A tenant and the id of an append."""


class BatchAppender:
    """Appends on behalf of all tasks of one event loop; made by `open_batch_appender`.

    A lost connection leaves outcomes unknown. As soon as there is a connection again the lost session is ended, so that
    nothing of it can arrive later, and the outcomes are looked up under the log's lock: what is not there is sent
    again. Whoever can't wait for that is told so, and what is not there then is marked as abandoned, which refuses it
    should it arrive all the same. Whoever knows the id of a command and sends it again has it stored under the next id.
    """

    def __init__(
        self,
        database_url: str,
        on_append: Callable[[], None] = lambda: None,
        on_new_history: Callable[[], None] = lambda: None,
        limits: BatchLimits = BatchLimits(),  # noqa: B008 - an immutable value
    ) -> None:
        self._database_url = database_url
        self._on_append = on_append
        self._on_new_history = on_new_history
        self._limits = limits
        self._waiting = WaitingAppends(limits)
        self._is_due = asyncio.Event()
        self._session: WriterSession | None = None
        self._head = 0
        """Where the log ended when it was last asked; less than before on a server that was promoted too early."""
        self._epoch: str | None = None
        self._history = 0
        """Raised whenever the log turns out to be another than before: a promoted replica, a restored copy."""
        self._is_stopped = False
        self._strays: list[str] = []
        """The names of lost sessions whose end nobody has seen."""
        self._to_abandon: dict[Settled, int] = {}
        """What was answered as unknown, and a position that the log had before it was sent."""

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
            HistoryChanged: the log's server was replaced meanwhile; nothing was stored, decide anew.
            InvalidAppend: the database can't store it.
            AppenderBusy: too many appends are waiting; nothing was stored.
            StorageRefused: the database can't store anything; nothing was stored.
            StoreUnavailable: no connection; the outcome is unknown.
        """
        if self._is_stopped:
            raise StoreUnavailable(_STOPPED)
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._limits.wait_seconds
        waiting = Waiting(prepared, loop.create_future(), deadline, self._history)
        self._waiting.add(waiting)
        self._is_due.set()
        return await waiting.future

    async def run(self) -> None:
        """Append until cancelled; callers that still wait are then told that their outcome is unknown."""
        pace = Pace()
        try:
            while True:
                await self._is_due.wait()
                self._is_due.clear()
                answered = 0
                while batch := self._waiting.take(pace.share(len(self._waiting), answered)):
                    pace.began()
                    await self._store(batch)
                    pace.ended(len(batch))
                    answered = len(batch)
                    if not (pace.takes_turns and self._waiting):
                        await asyncio.sleep(0)  # whoever was answered may append again, into the next batch
                        answered = 0
        finally:
            self._is_stopped = True
            for waiting in self._waiting.drain():
                _fail(waiting, StoreUnavailable(_STOPPED))
            await self._disconnect()

    async def _store(self, batch: list[Waiting]) -> None:
        """Bring `batch` to an end, or put what is still open in front of the queue."""
        try:
            session = await self._connected(batch)
            unsettled = [each for each in batch if each.sent_after is not None]
            if unsettled:
                await self._settle(session, unsettled)
            else:
                await self._send(session, batch)
        except asyncio.CancelledError:
            self._give_up(batch, _STOPPED)
            raise
        except _LOST as error:
            FAULTS.note("append.connection_lost", error, appends=len(batch))
            await self._disconnect()
            self._give_up_the_late(batch, str(error) or "the database does not answer")
        except Exception as error:  # the appender must live on, whatever one batch does
            log.exception("append.failed", appends=len(batch))
            await self._disconnect()
            self._give_up(batch, repr(error))
        self._waiting.add_first([each for each in batch if not each.future.done()])

    async def _connected(self, batch: list[Waiting]) -> WriterSession:
        """Return the session, opened anew if need be.

        Raises:
            OperationalError, TimeoutError: nobody in the batch can wait for it any longer.
        """
        if self._session is not None and not self._session.is_lost:
            return self._session
        await self._disconnect()
        loop = asyncio.get_running_loop()
        deadline = max(each.deadline for each in batch)
        for tries in itertools.count():
            try:
                async with asyncio.timeout_at(deadline):
                    return await self._open()
            except _LOST:
                remaining = deadline - loop.time()
                if remaining <= 0:
                    raise
            await asyncio.sleep(min(remaining, _RECONNECT_SECONDS[min(tries, len(_RECONNECT_SECONDS) - 1)]))
        raise AssertionError("a count has no end")

    async def _open(self) -> WriterSession:
        """Open a session that ends the lost ones, marks a promoted server, and abandons what was told as unknown."""
        self._session = session = await WriterSession.open(self._database_url, self._limits.wait_seconds)
        try:
            if self._strays and await session.end(self._strays):
                self._strays.clear()
            asked = [(tenant, append_id, True) for tenant, append_id in self._to_abandon]
            answer = await session.settle(asked, min(self._to_abandon.values(), default=self._head))
        except BaseException:
            await self._disconnect()
            raise
        self._note_history(answer)
        self._to_abandon.clear()
        return session

    def _note_history(self, answer: BatchAnswer) -> None:
        """Notice a log that is not the one of the last answer: it has another epoch, or has become shorter."""
        if self._epoch is not None and (answer.epoch != self._epoch or answer.head < self._head):
            log.warning("append.history_changed", epoch=answer.epoch, head=answer.head, head_before=self._head)
            self._history += 1
            self._on_new_history()
        self._epoch, self._head = answer.epoch, answer.head

    async def _settle(self, session: WriterSession, unsettled: list[Waiting]) -> None:
        """Look up what became of appends whose connection was lost; what is absent is to be sent again."""
        # A session that would not end may still do what it was sent: only abandoning keeps that from being done twice.
        is_abandoned = bool(self._strays)
        asked = dict.fromkeys((each.prepared.tenant, each.prepared.append_id) for each in unsettled)
        numbers = {append: str(number) for number, append in enumerate(asked, start=1)}
        after = min(each.sent_after for each in unsettled if each.sent_after is not None)
        answer = await session.settle([(*append, is_abandoned) for append in asked], after)
        for waiting in unsettled:
            found = answer.refusals[numbers[waiting.prepared.tenant, waiting.prepared.append_id]]
            waiting.sent_after = None
            match found["result"]:
                case "known":
                    _answer(waiting, known(found, answer.epoch))
                case "stored":
                    _answer(waiting, stored(waiting.prepared, found["position"], answer))
                case "abandoned":
                    waiting.prepared = waiting.prepared.after_abandoned()
                case _:
                    pass  # absent: it is sent again as it is

    async def _send(self, session: WriterSession, waiting: list[Waiting]) -> None:
        """Send appends as one batch; one that fails as a whole is halved until only the guilty one is left."""
        for each in waiting:
            if each.history != self._history:
                _fail(each, HistoryChanged())
        waiting = [each for each in waiting if not each.future.done()]
        if not waiting:
            return
        try:
            batch = Batch.of([each.prepared for each in waiting])
            parameters = batch.parameters()
        except Exception as error:  # noqa: BLE001 - whatever was overlooked in one append must not hurt the others
            await self._halve(session, waiting, error)
            return
        for each in waiting:
            each.sent_after = self._head
        try:
            answer = await session.append(parameters)
        except psycopg.Error as error:
            if session.is_lost:
                raise psycopg.OperationalError(str(error)) from error
            for each in waiting:
                each.sent_after = None
            await self._after_refusal(session, waiting, error)
            return
        FAULTS.note_stored()
        batch_size.record(len(waiting))
        self._note_history(answer)
        self._deliver([waiting[index] for index in batch.order], batch.outcomes(answer))

    async def _after_refusal(self, session: WriterSession, waiting: list[Waiting], error: psycopg.Error) -> None:
        """Have a batch that was refused as a whole sent again, told to its callers, or sent in halves."""
        fault = fault_of(error)
        if fault.meaning is Meaning.PASSING or fault.has_waited:
            FAULTS.note("append.retried", error, appends=len(waiting))
            self._give_up_the_late(waiting, str(error))
            await asyncio.sleep(_AGAIN_SECONDS)
        elif fault.meaning is Meaning.OPERATOR and not (fault.may_be_of_one and len(waiting) > 1):
            FAULTS.note("append.not_stored", error, appends=len(waiting))
            for each in waiting:
                _fail(each, StorageRefused(f"{fault.kind}: {error}"))
            # Another session may be of another server: one that was promoted meanwhile is not read-only.
            await self._disconnect()
        else:
            await self._halve(session, waiting, error)

    async def _halve(self, session: WriterSession, waiting: list[Waiting], error: Exception) -> None:
        if len(waiting) == 1:
            log.warning("append.refused", error=str(error))
            _fail(waiting[0], InvalidAppend(str(error) or repr(error)))
            return
        half = len(waiting) // 2
        await self._send(session, waiting[:half])
        await self._send(session, waiting[half:])

    def _deliver(self, waiting: Sequence[Waiting], outcomes: Sequence[Outcome]) -> None:
        """Answer each caller; one that is to come again is left open."""
        has_events = False
        for each, outcome in zip(waiting, outcomes, strict=True):
            each.sent_after = None
            match outcome:
                case Appended():
                    has_events = has_events or (each.prepared.event_count > 0 and not outcome.is_repeated)
                    _answer(each, outcome)
                case Again():
                    each.prepared = each.prepared.alone()
                case Abandoned():
                    each.prepared = each.prepared.after_abandoned()
                case EventStoreError():
                    _fail(each, outcome)
        if has_events:
            self._on_append()

    def _give_up_the_late(self, waiting: Iterable[Waiting], cause: str) -> None:
        now = asyncio.get_running_loop().time()
        self._give_up([each for each in waiting if each.deadline <= now], cause)

    def _give_up(self, waiting: Iterable[Waiting], cause: str) -> None:
        for each in waiting:
            if each.sent_after is not None and len(self._to_abandon) < _MOST_UNSETTLED:
                self._to_abandon[each.prepared.tenant, each.prepared.append_id] = each.sent_after
            _fail(each, StoreUnavailable(cause))

    async def _disconnect(self) -> None:
        session, self._session = self._session, None
        if session is not None:
            self._strays.append(session.name)
            await session.close()


@asynccontextmanager
async def open_batch_appender(
    database_url: str,
    on_append: Callable[[], None] = lambda: None,
    on_new_history: Callable[[], None] = lambda: None,
    limits: BatchLimits = BatchLimits(),  # noqa: B008 - an immutable value
) -> AsyncIterator[BatchAppender]:
    """Run an appender.

    Args:
        database_url: of the role `varve_writer`, and of the database itself: a pooler must not share its session.
        on_append: called after every batch that stored events.
        on_new_history: called when the log is not the one of before, so that whatever was kept of it must go.
        limits: of a batch and of what may wait.
    """
    appender = BatchAppender(database_url, on_append, on_new_history, limits)
    async with running_beside(appender.run()):
        yield appender


def _answer(waiting: Waiting, appended: Appended) -> None:
    if not waiting.future.done():
        waiting.future.set_result(appended)


def _fail(waiting: Waiting, error: Exception) -> None:
    if not waiting.future.done():
        waiting.future.set_exception(error)
