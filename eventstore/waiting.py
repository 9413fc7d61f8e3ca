"""The appends that wait for the next batch: tenants take turns, and imports wait behind people."""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from eventstore.errors import AppenderBusy
from eventstore.prepare import PreparedAppend
from eventstore.records import Appended

if TYPE_CHECKING:
    from asyncio import Future

_BULK_PATIENCE = 8
"""How many batches may leave without a bulk append that waits; then one goes first."""

_EVERYTHING = 1 << 62


@dataclass(frozen=True, slots=True)
class BatchLimits:
    """How large a batch may become, and how much may wait for it."""

    appends: int = 128
    bytes: int = 4_000_000
    bulk_appends: int = 8
    """How many bulk appends a batch may hold while there are interactive ones."""
    waiting_appends: int = 10_000
    waiting_bytes: int = 256_000_000
    wait_seconds: float = 8.0
    """How long an append waits for a database that is away or does not answer before its caller is told."""


@dataclass(slots=True, eq=False)
class Waiting:
    """An append and the caller who waits for its outcome, until the time `deadline` of the loop's clock.

    `history` is the number of the log's history in which it was decided; `sent_after` a position that the log had
    before the append was sent, None where it surely is not in the log.
    """

    prepared: PreparedAppend
    future: "Future[Appended]"
    deadline: float
    history: int = 0
    sent_after: int | None = None


@dataclass(slots=True)
class _Turns:
    """A queue for each tenant, taken from in turns."""

    queues: dict[str, deque[Waiting]] = field(default_factory=dict)

    def add(self, waiting: Waiting) -> None:
        self.queues.setdefault(waiting.prepared.tenant, deque()).append(waiting)

    def __iter__(self) -> Iterator[Waiting]:
        """Take the next one; the tenant that was served goes to the end of the line."""
        while self.queues:
            tenant = next(iter(self.queues))
            queue = self.queues.pop(tenant)
            waiting = queue.popleft()
            if queue:
                self.queues[tenant] = queue
            yield waiting

    def put_back(self, waiting: Waiting) -> None:
        tenant = waiting.prepared.tenant
        queue = self.queues.pop(tenant, deque())
        queue.appendleft(waiting)
        self.queues = {tenant: queue, **self.queues}


class WaitingAppends:
    """A bounded queue, fair between tenants."""

    def __init__(self, limits: BatchLimits) -> None:
        self._limits = limits
        self._again: deque[Waiting] = deque()
        self._interactive = _Turns()
        self._bulk = _Turns()
        self._count = 0
        self._bytes = 0
        self._batches_without_bulk = 0

    def __len__(self) -> int:
        return self._count

    def add(self, waiting: Waiting) -> None:
        """Put an append at the end of its tenant's queue.

        Raises:
            AppenderBusy: the queue is full.
        """
        size = waiting.prepared.size
        if self._count >= self._limits.waiting_appends or self._bytes + size > self._limits.waiting_bytes:
            raise AppenderBusy(f"{self._count} appends are waiting")
        self._note(waiting, 1)
        (self._bulk if waiting.prepared.is_bulk else self._interactive).add(waiting)

    def add_first(self, waiting: list[Waiting]) -> None:
        """Put appends that were in a batch before, in their order, in front of all others."""
        for each in waiting:
            self._note(each, 1)
        self._again.extendleft(reversed(waiting))

    def take(self, most: int = _EVERYTHING) -> list[Waiting]:
        """Take the next batch out, of `most` appends or fewer; those whose callers are gone are dropped."""
        limits, batch = self._limits, _Batch(self._limits.bytes)
        most = min(most, limits.appends)
        while self._again and batch.fits(self._again[0], most):
            self._move(self._again.popleft(), batch)
        if not self._again:
            if self._batches_without_bulk >= _BULK_PATIENCE:
                self._fill(self._bulk, batch, len(batch.appends) + 1)
            self._fill(self._interactive, batch, most)
            most_with_bulk = len(batch.appends) + limits.bulk_appends if batch.appends else most
            self._fill(self._bulk, batch, min(most, most_with_bulk))
        has_bulk = any(waiting.prepared.is_bulk for waiting in batch.appends)
        self._batches_without_bulk = 0 if has_bulk or not self._bulk.queues else self._batches_without_bulk + 1
        return batch.appends

    def drain(self) -> list[Waiting]:
        """Take everything out."""
        everything = [*self._again, *self._interactive, *self._bulk]
        self._again.clear()
        self._count = self._bytes = 0
        return everything

    def _fill(self, turns: _Turns, batch: "_Batch", most: int) -> None:
        """Move appends in turns until the batch has `most`, or the next one is too large for what is left."""
        for waiting in turns:
            if not batch.fits(waiting, most):
                turns.put_back(waiting)
                return
            self._move(waiting, batch)

    def _move(self, waiting: Waiting, batch: "_Batch") -> None:
        self._note(waiting, -1)
        if not waiting.future.done():
            batch.add(waiting)

    def _note(self, waiting: Waiting, sign: int) -> None:
        self._count += sign
        self._bytes += sign * waiting.prepared.size


@dataclass(slots=True)
class _Batch:
    """A batch that is being filled, and the bytes that still fit; the first append always does."""

    bytes_left: int
    appends: list[Waiting] = field(default_factory=list)

    def fits(self, waiting: Waiting, most: int) -> bool:
        return not self.appends or (len(self.appends) < most and waiting.prepared.size <= self.bytes_left)

    def add(self, waiting: Waiting) -> None:
        self.appends.append(waiting)
        self.bytes_left -= waiting.prepared.size
