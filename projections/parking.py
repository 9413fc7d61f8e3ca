"""Keeps aside what a projection could not apply, and in order what waits behind it, until it is retried or skipped."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from projections.definition import Connection
from projections.leases import LaneLease

_ADD = """
insert into varve.parked (projection, generation, position, tenant, partition, error, stack, attempts)
select %(projection)s, %(generation)s, * from unnest(
    %(positions)s::bigint[], %(tenants)s::text[], %(partitions)s::text[], %(errors)s::text[], %(stacks)s::text[],
    %(attempts)s::integer[])
on conflict do nothing  -- another lane may have died of the event, too
"""
_LOOK = """
select partition, position, is_to_retry, error from varve.parked
where projection = %(projection)s and generation = %(generation)s order by position
"""
_FAILED_AGAIN = """
update varve.parked set is_to_retry = false,
    error = case when position = %(position)s then %(error)s else error end,
    stack = case when position = %(position)s then %(stack)s else stack end,
    attempts = attempts + (position = %(position)s)::integer
where projection = %(projection)s and generation = %(generation)s and partition = %(partition)s
"""
_REMOVE = """
delete from varve.parked
where projection = %(projection)s and generation = %(generation)s and position = any (%(positions)s)
"""
_DUE = """
select array(select distinct projection || '/' || generation from varve.parked where is_to_retry),
       (select count(*) from varve.skipped), varve.head(), varve.check_epoch()
"""
# All of the partition: those behind the event wait for it, and those before it are in its way.
_RETRY = """
update varve.parked p set is_to_retry = true
from varve.generations g
where p.projection = %(projection)s and (g.projection, g.generation) = (p.projection, p.generation)
  and g.status in ('live', 'building')
  and (%(position)s::bigint is null
       or p.partition in (select partition from varve.parked
                          where projection = %(projection)s and position = %(position)s))
"""
_SKIPPED = "select position from varve.skipped where projection = %(projection)s and skipped_by <= %(seen_from)s"
_SKIPPED_BY = "select from varve.skipped where projection = %s and skipped_by = %s"
_SKIP = """
insert into varve.skipped (projection, position, skipped_by)
values (%(projection)s, %(position)s, %(skipped_by)s) on conflict do nothing
"""


class Aside(NamedTuple):
    """An event that is not applied: `error` says why, None when it waits behind another of its partition."""

    position: int
    tenant: str
    partition: str
    error: str | None = None
    stack: str | None = None
    attempts: int = 0


@dataclass(frozen=True, slots=True)
class Parked:
    """What is parked of a generation: by partition the positions, in order, and which partitions are to be retried.

    `errors` are those of the events that have one, by partition.
    """

    positions: Mapping[str, Sequence[int]]
    to_retry: frozenset[str]
    errors: Mapping[str, frozenset[str]]


@dataclass(frozen=True, slots=True)
class Due:
    """Which generations have something to retry, as `projection/generation`, how many events are skipped; the head.

    `epoch` is the log's present history: on a promoted server or a copy, to look begins a new one.
    """

    to_retry: frozenset[str] = frozenset()
    skipped: int = 0
    head: int = 0
    epoch: str = ""


async def park(connection: Connection, lease: LaneLease, events: Iterable[Aside]) -> None:
    """Put events aside, in the transaction that moves the lane past them."""
    aside = list(events)
    if aside:
        names = ("positions", "tenants", "partitions", "errors", "stacks", "attempts")
        columns = map(list, zip(*aside, strict=True))
        await connection.execute(_ADD, _generation(lease) | dict(zip(names, columns, strict=True)))


async def parked(connection: Connection, lease: LaneLease) -> Parked:
    """Return what is parked of the lease's generation, in all of its lanes."""
    cursor = await connection.execute(_LOOK, _generation(lease))
    positions: dict[str, list[int]] = {}
    to_retry = set()
    errors: dict[str, frozenset[str]] = {}
    for partition, position, is_to_retry, error in await cursor.fetchall():
        positions.setdefault(partition, []).append(position)
        if is_to_retry:
            to_retry.add(partition)
        if error is not None:
            errors[partition] = errors.get(partition, frozenset()) | {error}
    return Parked(positions, frozenset(to_retry), errors)


async def skipped(connection: Connection, lease: LaneLease) -> frozenset[int]:
    """Return the positions of events that operators took out of a projection; of a past position, by then."""
    cursor = await connection.execute(_SKIPPED, {"projection": lease.projection, "seen_from": lease.seen_from})
    return frozenset(position for (position,) in await cursor.fetchall())


async def due(connection: Connection) -> Due:
    """Return what is to be done besides what the log wakes for, and where the log ends in which history."""
    to_retry, count, head, epoch = await (await connection.execute(_DUE, prepare=True)).fetchone() or ((), 0, 0, "")
    return Due(frozenset(to_retry), count, head, epoch)


async def remove(connection: Connection, lease: LaneLease, positions: Sequence[int]) -> None:
    """Take events out, in the transaction that applied them."""
    await connection.execute(_REMOVE, _generation(lease) | {"positions": list(positions)})


async def note_failed_again(connection: Connection, lease: LaneLease, failed: Aside) -> None:
    """Keep a partition aside whose next event failed once more."""
    await connection.execute(_FAILED_AGAIN, _generation(lease) | failed._asdict())


async def retry(connection: Connection, projection: str, position: int | None) -> int:
    """Have a parked event and all of its partition tried again, or all that a projection has parked; count them."""
    return (await connection.execute(_RETRY, {"projection": projection, "position": position})).rowcount


async def is_skipped_by(connection: Connection, projection: str, skipped_by: int) -> bool:
    """Whether the event at `skipped_by`, a request, has taken an event out of a projection already."""
    return (await connection.execute(_SKIPPED_BY, (projection, skipped_by))).rowcount > 0


async def skip(connection: Connection, projection: str, position: int, skipped_by: int) -> None:
    """Take an event out of a projection, as the event at `skipped_by` says; try those that wait behind it."""
    await connection.execute(_SKIP, {"projection": projection, "position": position, "skipped_by": skipped_by})
    await retry(connection, projection, position)


def _generation(lease: LaneLease) -> dict[str, str | int | list[int]]:
    return {"projection": lease.projection, "generation": lease.generation}
