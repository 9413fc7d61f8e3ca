"""Who runs which lane: leases in PostgreSQL, by the database's clock, fenced by a number that only grows."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from psycopg.rows import class_row

from projections.definition import Connection, Generation


@dataclass(frozen=True, slots=True)
class LaneLease:
    """The right to write one lane, as long as `fence` is the newest, the time is not over and the log is in `epoch`."""

    projection: str
    generation: int
    lane: int
    lanes: int
    status: str
    position: int
    fence: int
    former_owner: str | None
    epoch: str

    @property
    def key(self) -> tuple[str, int, int]:
        return self.projection, self.generation, self.lane

    @property
    def tables(self) -> Generation:
        return Generation(self.projection, self.generation)


class LeaseLostError(Exception):
    """Another worker has the lane now; nothing of the batch was written."""


# Read while the last owner's batch is being committed, the position may be the one before that batch. The lane then
# loses its lease at its first batch, and begins anew.
_LEASE = """
l.projection, l.generation, l.lane::integer, g.lanes::integer, g.status, l.fence, {former_owner} as former_owner,
    (select c.position from varve.newest_checkpoint(l.projection, l.generation, l.lane) c) as position,
    (select epoch from varve.log_epochs order by number desc limit 1) as epoch
"""
_ACQUIRE = f"""
with free as (
    select l.projection, l.generation, l.lane, l.owner as former_owner
    from varve.leases l join varve.generations g using (projection, generation)
    join unnest(%(projections)s::text[], %(definitions)s::text[]) as known (projection, definition)
      on known.projection = g.projection and known.definition = g.definition
    where g.status in ('live', 'building')
      and (l.leased_until is null or l.leased_until < clock_timestamp())
    for update of l skip locked
)
update varve.leases l
set owner = %(owner)s, fence = l.fence + 1, leased_until = clock_timestamp() + make_interval(secs => %(seconds)s)
from free, varve.generations g
where (l.projection, l.generation, l.lane) = (free.projection, free.generation, free.lane)
  and (g.projection, g.generation) = (l.projection, l.generation)
returning {_LEASE.format(former_owner="free.former_owner")}
"""
_RENEW = f"""
update varve.leases l set leased_until = clock_timestamp() + make_interval(secs => %(seconds)s)
from varve.generations g
where l.owner = %(owner)s and l.leased_until > clock_timestamp()
  and (g.projection, g.generation) = (l.projection, l.generation) and g.status in ('live', 'building')
returning {_LEASE.format(former_owner="null")}
"""
_RELEASE = "update varve.leases set leased_until = null, owner = null where owner = %s"
_TERMINATE = """
select pg_terminate_backend(pid) from pg_stat_activity
where usename = current_user and application_name = any (%s)
"""
# The lease's row is locked as an update would lock it, so that nobody takes the lane over before the commit.
_ADVANCE = """
with held as (
    select projection, generation, lane from varve.leases
    where projection = %(projection)s and generation = %(generation)s and lane = %(lane)s and fence = %(fence)s
      and leased_until > clock_timestamp()
      -- What was read from a server that is gone must not be written here: this one may hold another history.
      and exists (select from varve.log_epochs n where n.number = (select max(number) from varve.log_epochs)
                  and n.epoch = %(epoch)s and n.timeline = left(pg_walfile_name(pg_current_wal_lsn()), 8))
    for no key update
), last as (
    delete from varve.checkpoints c
    using held h cross join lateral varve.newest_checkpoint(h.projection, h.generation, h.lane) n
    where c.ctid = n.place and n.position = %(from)s
    returning c.position
), recovered as (
    update varve.leases set error = null, failures = 0 from last
    where projection = %(projection)s and generation = %(generation)s and lane = %(lane)s and failures > 0
)
insert into varve.checkpoints (projection, generation, lane, position)
select %(projection)s, %(generation)s, %(lane)s, %(to)s from last
"""
_FAIL = """
update varve.leases set error = %(error)s, failures = failures + 1
where projection = %(projection)s and generation = %(generation)s and lane = %(lane)s and fence = %(fence)s
"""


async def acquire(
    connection: Connection, owner: str, definitions: Mapping[str, str], seconds: float
) -> list[LaneLease]:
    """Take every lane that nobody holds, of generations whose definition is the one that this code has.

    Args:
        connection: as the projector.
        owner: who takes them.
        definitions: by projection.
        seconds: how long each lease lasts.
    """
    cursor = connection.cursor(row_factory=class_row(LaneLease))
    parameters = {"projections": list(definitions), "definitions": list(definitions.values())}
    await cursor.execute(_ACQUIRE, {"owner": owner, "seconds": seconds, **parameters})
    return await cursor.fetchall()


async def end_sessions(connection: Connection, owners: Collection[str]) -> None:
    """End the database sessions of workers whose leases ran out: a stopped one may hold locks on the lanes' rows.

    Args:
        connection: as the projector; its sessions carry the owner as their application name.
        owners: who had the lanes before.
    """
    if owners:
        await connection.execute(_TERMINATE, (list(owners),))


async def renew(connection: Connection, owner: str, seconds: float) -> list[LaneLease]:
    """Prolong the leases of `owner` and return those that it still has."""
    cursor = connection.cursor(row_factory=class_row(LaneLease))
    await cursor.execute(_RENEW, {"owner": owner, "seconds": seconds})
    return await cursor.fetchall()


async def release(connection: Connection, owner: str) -> None:
    """Give every lease back, so that another worker need not wait for its end."""
    await connection.execute(_RELEASE, (owner,))


async def advance(connection: Connection, lease: LaneLease, position: int, to: int) -> None:
    """Move the lane's position, in the transaction that wrote the rows.

    Raises:
        LeaseLostError: the lease is over or another's, or the log has another history than the one that was read; the
            caller's transaction must not commit.
    """
    parameters = _lane(lease) | {"from": position, "to": to, "epoch": lease.epoch}
    if (await connection.execute(_ADVANCE, parameters, prepare=True)).rowcount != 1:
        raise LeaseLostError


async def note_failure(connection: Connection, lease: LaneLease, error: str) -> None:
    """Show on the lane why it does not move."""
    await connection.execute(_FAIL, _lane(lease) | {"error": error})


def _lane(lease: LaneLease) -> dict[str, str | int]:
    return {
        "projection": lease.projection,
        "generation": lease.generation,
        "lane": lease.lane,
        "fence": lease.fence,
    }
