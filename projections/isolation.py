"""Finds the event that ends or hangs its process: a suspected lane runs in a child, which may die instead.

A worker that is lost with the checkpoint unmoved (`LaneLease.losses`), that runs out of memory, or whose fold never
returns leaves a suspicion behind. The whole window that the lane stands at is run in a child first. When that dies, the
window is run event by event, so that each further death names its event; an event that ends its child twice, alone, is
parked. Halving would cost a death for each half: with a time limit of a second or two each, minutes.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple, Protocol, TypeGuard, get_args

import structlog

from eventstore.log_filter import POSITION, STREAM, TENANT, TOPIC
from eventstore.slots import slot_of
from projections.definition import Projection
from projections.leases import LaneLease, LeaseLostError
from projections.parking import Aside
from projections.shared_log import SharedLog

log = structlog.get_logger()

Death = Literal["hung", "killed", "memory"]
"""How a child ended: it made no progress in time, it died, or it needed more memory than it may have."""
Result = Literal["passed", "lost", "away", "waiting"]
"""How a child ended by itself: done, without the lease, without the database, or before something is made."""
_DEATHS: frozenset[str] = frozenset(get_args(Death))
_DEATHS_TO_PARK = 2
_WINDOW = 1000
"""Events: no batch that a worker was lost in reaches further."""
_BATCH_SECONDS = 1.2
_PASSAGE_SECONDS = 0.01
_TEXT_SECONDS = 6.0
"""A text of some length is cut in a process of its own, which may have to start first."""


class Ending(NamedTuple):
    """How a child ended, and the parked event that it tried again, if it was at one: its partition and position."""

    kind: Result | Death
    retried: tuple[str, int] | None = None


@dataclass(frozen=True, slots=True)
class Order:
    """A piece of a lane's work for a child: up to the position `to`, or to an event that this code can't decode."""

    lease: LaneLease
    to: int
    window: int = _WINDOW
    """How many events are read, decoded and applied together."""
    fills: bool = False
    """Whether a generation without rows is filled in bulk."""


class Stage(NamedTuple):
    """A step of a lane's work that begins: it may take so many seconds until the next one does."""

    seconds: float
    retried: tuple[str, int] | None = None


NoteStage = Callable[[Stage], None]


class LaneChildren(Protocol):
    """Runs orders in processes that may die."""

    async def run(self, order: Order) -> Ending:
        """Run one order in a child of its own; never raises for what the child does."""


class HungFoldError(Exception):
    """A fold has not returned in a time that is long for it; its thread may go on for ever."""


def is_death(kind: str) -> TypeGuard[Death]:
    """Whether an error of a parked event, or an ending, says that a process ended by it."""
    return kind in _DEATHS


def allowed_seconds(events: int, weight: int) -> float:
    """Return how long a batch may take before a child that applies it counts as hung.

    Waits for the database, for a processor and for vectors do not count. `weight` is that of `Projection.weight`, in
    passages for the indexes of texts.
    """
    texts = _TEXT_SECONDS if weight > events else 0.0
    return _BATCH_SECONDS + texts + _PASSAGE_SECONDS * (weight - events) + events / 1000


@dataclass(frozen=True, slots=True)
class Culprit:
    """An event that ends its process, as it is stored."""

    position: int
    tenant: str
    stream: str | None
    topic: str
    death: Death


class Isolation:
    """Decides for one lane which orders its children get, and which event their deaths point to."""

    def __init__(self, projection: Projection, children: LaneChildren, shared_log: SharedLog) -> None:
        self._projection = projection
        self._children = children
        self._log = shared_log
        self._deaths: Counter[int] = Counter()
        """Of children that applied one event alone, by its position."""

    async def first_order(self, lease: LaneLease, position: int, *, fills: bool) -> Order:
        """Return the order for the window after `position`, of which nothing is decoded here."""
        fetched = await self._log.rows(position, lease.wanted, _WINDOW)
        return Order(lease, fetched.head if fills else fetched.scanned_to, fills=fills)

    async def run(self, order: Order) -> Ending:
        """Run `order` in a child.

        Raises:
            LeaseLostError: the lane is another worker's.
        """
        ending = await self._children.run(order)
        log.warning("lane.isolated", lane=order.lease.key, to=order.to, window=order.window, ending=ending.kind)
        if ending.kind == "lost":
            raise LeaseLostError
        return ending

    async def after_death(self, order: Order, position: int, death: Death) -> Order | Culprit:
        """Return the same in smaller pieces, or the event after `position` when it has ended its process alone, twice.

        Of a fill that died nothing is written, and it may have been anywhere in the log: it is done in windows.
        """
        if order.fills:
            return replace(order, fills=False)
        if order.window > 1:
            window = await self._log.rows(position, order.lease.wanted, order.window)
            return replace(order, window=1, to=min(order.to, window.scanned_to))
        culprit = await self._next(order, position, death)
        if culprit is None:
            return order  # it was voided meanwhile
        self._deaths[culprit.position] += 1
        return culprit if self._deaths[culprit.position] >= _DEATHS_TO_PARK else order

    async def _next(self, order: Order, position: int, death: Death) -> Culprit | None:
        while position < order.to:
            fetched = await self._log.rows(position, order.lease.wanted, 1)
            if fetched.rows:
                row = fetched.rows[0]
                return Culprit(row[POSITION], row[TENANT], row[STREAM], row[TOPIC], death)
            position = fetched.scanned_to  # past one that was voided
        return None

    def aside(self, culprit: Culprit, slots: range) -> Aside | None:
        """Return how `culprit` is parked; None when it is not for this lane, and is only passed by.

        Where the projection says itself what partitions are, that can't be known of an event which nothing decodes. Its
        stream stands for it, and each lane that dies of the event parks it.
        """
        by = self._projection.partitioned_by()
        partition = culprit.tenant if by == "tenant" else f"{culprit.tenant}/{culprit.stream}"
        topics = {event_class.TOPIC for event_class in self._projection.EVENTS}
        if culprit.topic not in topics or (by is not None and slot_of(partition) not in slots):
            return None
        return Aside(culprit.position, culprit.tenant, partition, culprit.death, None, _DEATHS_TO_PARK)
