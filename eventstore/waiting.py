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


@dataclass(frozen=True, slots=True)
class BatchLimits:
    """How large a batch may become, and how much may wait for it."""

    appends: int = 128
    bytes: int = 4_000_000
    bulk_appends: int = 8
    """How many bulk appends a batch may hold while there are interactive ones."""
    waiting_appends: int = 10_000
    waiting_bytes: int = 256_000_000


@dataclass(slots=True, eq=False)
class Waiting:
    """An append and the caller who waits for its outcome, until the time `deadline` of the loop's clock."""

    prepared: PreparedAppend
    future: "Future[Appended]"
    deadline: float
    was_sent: bool = False


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

    def take(self) -> list[Waiting]:
        """Take the next batch out; those whose callers are gone are dropped."""
        batch: list[Waiting] = []
        room = _Room(self._limits.appends, self._limits.bytes)
        while self._again and room.fits(self._again[0], batch):
            self._take(self._again.popleft(), batch, room)
        if not self._again:
            self._fill(self._interactive, batch, room)
            if batch:
                room.appends = min(room.appends, self._limits.bulk_appends)
            self._fill(self._bulk, batch, room)
        return batch

    def drain(self) -> list[Waiting]:
        """Take everything out."""
        everything = [*self._again, *self._interactive, *self._bulk]
        self._again.clear()
        self._count = self._bytes = 0
        return everything

    def _fill(self, turns: _Turns, batch: list[Waiting], room: "_Room") -> None:
        for waiting in turns:
            if not room.fits(waiting, batch):
                turns.put_back(waiting)
                return
            self._take(waiting, batch, room)

    def _take(self, waiting: Waiting, batch: list[Waiting], room: "_Room") -> None:
        self._note(waiting, -1)
        if waiting.future.done():
            return
        room.take(waiting)
        batch.append(waiting)

    def _note(self, waiting: Waiting, sign: int) -> None:
        self._count += sign
        self._bytes += sign * waiting.prepared.size


@dataclass(slots=True)
class _Room:
    """What still fits into a batch; the first append always does."""

    appends: int
    bytes: int

    def fits(self, waiting: Waiting, batch: list[Waiting]) -> bool:
        return not batch or (self.appends > 0 and waiting.prepared.size <= self.bytes)

    def take(self, waiting: Waiting) -> None:
        self.appends -= 1
        self.bytes -= waiting.prepared.size
