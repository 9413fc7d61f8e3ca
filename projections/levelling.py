"""Brings a generation that is compared to where each lane of the live one is, however fast events come.

Its own lanes stop at a common position. From there, what the live lanes have beyond is folded here, in the transaction
that compares: nobody waits for lanes to be at one position by chance, and the live ones go on.
"""

import asyncio
import contextlib
from collections.abc import Sequence
from dataclasses import dataclass

import structlog
from psycopg.rows import args_row

from eventstore.faults import meaning_of
from eventstore.log_filter import LogFilter
from eventstore.records import RecordedEvent
from eventstore.slots import slot_of
from eventstore.sqlstates import Meaning
from projections.definition import BatchTooLargeError, Connection, Generation, Projection
from projections.layout import Span
from projections.leases import LaneLease
from projections.parking import Aside, park, parked, skipped
from projections.shared_log import SharedLog

log = structlog.get_logger()

_MOST_SECONDS = 30.0
_MOST_FOLDED = 10_000
"""Positions; what is beyond is left to the lanes."""

# One lane of a generation is enough for it. Not the row of the generation: an operator may give it up meanwhile.
_ALONE = "select pg_try_advisory_xact_lock(hashtextextended(%(projection)s, %(generation)s))"
_STATE = """
select b.status = 'building', b.up_to, v.generation,
       (select bool_and(l.position = b.up_to) from varve.lanes l
        where (l.projection, l.generation) = (b.projection, b.generation))
from varve.generations b join varve.generations v on v.projection = b.projection and v.status = 'live'
where b.projection = %(projection)s and b.generation = %(generation)s
"""
_LANES = """
select first_slot::integer, last_slot::integer, position from varve.lanes
where projection = %(projection)s and generation = %(live)s order by first_slot
"""
_GO_ON = """
update varve.generations set up_to = varve.head()
where projection = %(projection)s and generation = %(generation)s and status = 'building'
"""


@dataclass(frozen=True, slots=True)
class Level:
    """Two generations with the same events, up to `position` at the least."""

    built: Generation
    live: Generation
    position: int
    only_tenant: str | None

    @property
    def parameters(self) -> dict[str, str | int | None]:
        return {
            "projection": self.built.projection,
            "generation": self.built.number,
            "live": self.live.number,
            "position": self.position,
            "only_tenant": self.only_tenant,
        }


class NotLevelError(Exception):
    """The lanes of one of the generations are not far enough yet."""


class NotFoldedError(Exception):
    """What the live lanes have beyond is too much, or can't be folded: the lanes of the other generation have to."""


async def building_and_live(connection: Connection, lease: LaneLease) -> tuple[Generation, int] | None:
    """Return the live generation and where the other one has stopped; None when its building is over.

    Raises:
        NotLevelError: it has not, or another lane is at this.
    """
    parameters = {"projection": lease.projection, "generation": lease.generation}
    row = await (await connection.execute(_ALONE, parameters)).fetchone()
    if row is None or not row[0]:
        raise NotLevelError
    found = await (await connection.execute(_STATE, parameters)).fetchone()
    if found is None or not found[0]:
        return None
    _, up_to, live, has_stopped = found
    if not has_stopped:
        raise NotLevelError
    return Generation(lease.projection, live), up_to


async def level(
    connection: Connection,
    projection: Projection,
    lease: LaneLease,
    shared_log: SharedLog,
    live: Generation,
    stopped_at: int,
) -> Level:
    """Fold what the live lanes have beyond `stopped_at` into the lease's generation, in the open transaction.

    Raises:
        NotLevelError: a live lane is behind.
        NotFoldedError: the generation's own lanes have to do it; they find out at which event a fold fails.
    """
    cursor = connection.cursor(row_factory=args_row(Span))
    await cursor.execute(_LANES, {"projection": lease.projection, "live": live.number})
    spans = await cursor.fetchall()
    lowest, highest = min(span.position for span in spans), max(span.position for span in spans)
    if lowest < stopped_at:
        raise NotLevelError
    if highest - stopped_at > _MOST_FOLDED or lease.losses:  # what ended a worker is tried in a child of the lane's
        raise NotFoldedError
    try:
        async with asyncio.timeout(_MOST_SECONDS):  # a fold on a thread may go on for ever
            await _fold_up_to(connection, projection, lease, shared_log, stopped_at, spans)
    except TimeoutError as error:
        raise NotFoldedError from error
    except Exception as error:
        if meaning_of(error) is not Meaning.OF_THE_EVENT:
            raise
        raise NotFoldedError from error
    return Level(lease.tables, live, lowest, lease.only_tenant)


async def go_on(connection: Connection, lease: LaneLease) -> None:
    """Let the lanes of the lease's generation go on, up to the log's present end."""
    await connection.execute(_GO_ON, {"projection": lease.projection, "generation": lease.generation})
    log.info("projection.follows", projection=lease.projection, generation=lease.generation)


async def _fold_up_to(
    connection: Connection,
    projection: Projection,
    lease: LaneLease,
    shared_log: SharedLog,
    stopped_at: int,
    spans: Sequence[Span],
) -> None:
    """Fold the events after `stopped_at`, up to the position of the live lane that each belongs to."""
    positions = {slot: span.position for span in spans for slot in range(span.first, span.last + 1)}
    highest = max(positions.values())
    wanted = LogFilter(tenant=lease.only_tenant, leaves_out_voided=True, up_to=highest)
    left_out = await skipped(connection, lease)
    blocked = set((await parked(connection, lease)).positions)
    reached = stopped_at
    while reached < highest:
        window = await shared_log.window(reached, wanted)
        events = [
            event
            for event in window.events
            if projection.takes(event)
            and event.position not in left_out
            and event.position <= positions[slot_of(projection.partition(event))]
        ]
        await _fold(connection, projection, lease, events, blocked)
        reached = window.scanned_to


async def _fold(
    connection: Connection,
    projection: Projection,
    lease: LaneLease,
    events: Sequence[RecordedEvent],
    blocked: set[str],
) -> None:
    free = [event for event in events if projection.partition(event) not in blocked]
    aside = [
        Aside(event.position, event.tenant, partition)
        for event in events
        if (partition := projection.partition(event)) in blocked
    ]
    if free:
        await _apply(connection, projection, lease, free)
    await park(connection, lease, aside)


async def _apply(
    connection: Connection, projection: Projection, lease: LaneLease, events: Sequence[RecordedEvent]
) -> None:
    try:
        read = await projection.prepare(connection, lease.tables, events)
        prepared = await projection.work_out(lease.tables, read, lambda: contextlib.nullcontext(connection))
        await projection.apply(connection, lease.tables, events, prepared)
    except BatchTooLargeError:  # nothing was written: it is known beforehand
        half = len(events) // 2
        await _apply(connection, projection, lease, events[:half])
        await _apply(connection, projection, lease, events[half:])
