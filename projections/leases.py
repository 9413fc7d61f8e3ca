"""Who runs which lane: leases in PostgreSQL, by the database's clock, fenced by a number that only grows."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple
from uuid import UUID

from psycopg.rows import class_row

from eventstore.log import UnknownEvent
from eventstore.log_filter import ANY_POSITION, LogFilter
from eventstore.slots import SLOTS
from projections.definition import Connection, Generation, Purpose
from projections.unknown_events import LEFT_OUT

LaneKey = tuple[str, int, int]
"""A projection, a generation and the lane's first slot."""


@dataclass(frozen=True, slots=True)
class LaneLease:
    """The right to write one lane, as long as `fence` is the newest, the time is not over and the log is in `epoch`."""

    projection: str
    generation: int
    first_slot: int
    last_slot: int
    status: str
    position: int
    fence: int
    former_owner: str | None
    epoch: str
    purpose: Purpose
    only_tenant: str | None
    up_to: int | None
    as_of: UUID | None
    losses: int = 0
    """How many workers were lost while the lane stood where it stands: something there may hang or kill its process."""

    @property
    def key(self) -> LaneKey:
        return self.projection, self.generation, self.first_slot

    @property
    def tables(self) -> Generation:
        return Generation(self.projection, self.generation, self.as_of)

    @property
    def wanted(self) -> LogFilter:
        """What of the log the lane is about."""
        up_to = ANY_POSITION if self.up_to is None else self.up_to
        return LogFilter(tenant=self.only_tenant, leaves_out_voided=True, up_to=up_to, voided_by=self.seen_from)

    @property
    def seen_from(self) -> int:
        """The position after which nothing counts that was said of earlier events: for a past position alone."""
        return ANY_POSITION if self.as_of is None or self.up_to is None else self.up_to


class Move(NamedTuple):
    """A lane's way from one position to a later one."""

    lease: LaneLease
    position: int
    to: int


class LeaseLostError(Exception):
    """Another worker has the lane now; nothing of the batch was written."""


@dataclass(frozen=True, slots=True)
class Known:
    """What a worker's code knows: projections by their definitions, event topics by their newest class versions."""

    definitions: Mapping[str, str]
    class_versions: Mapping[str, int]

    def parameters(self) -> dict[str, list[str] | list[int]]:
        return {
            "projections": list(self.definitions),
            "definitions": list(self.definitions.values()),
            "topics": list(self.class_versions),
            "versions": list(self.class_versions.values()),
        }


@dataclass(frozen=True, slots=True)
class Share:
    """How many lanes are a worker's part, and the projections of which all are, since nobody else knows them.

    `has_free` says whether nobody holds one of the lanes that it knows.
    """

    lanes: int
    alone: Collection[str]
    has_free: bool


_LONGEST_WAIT = "500ms"
"""For a lock at a heartbeat."""
_RATE_SECONDS = 10.0
"""Over about so long a lane's rate is averaged."""

# Read while the last owner's batch is being committed, the position may be the one before that batch. The lane then
# loses its lease at its first batch, and begins anew.
_LEASE = """
l.projection, l.generation, l.first_slot::integer, l.last_slot::integer, g.status, l.fence,
    g.purpose, g.only_tenant, g.up_to, g.as_of, l.losses::integer, {former_owner} as former_owner, {lane}.position,
    (select epoch from varve.log_epochs order by number desc limit 1) as epoch
"""
# Each lane counts as the part that one of the workers who know it should have. This worker's own row may not be there
# yet: a statement does not see what it writes.
_SHARE = """
with present as (
    insert into varve.workers (owner, known, seen_at) values (%(owner)s, %(known)s, clock_timestamp())
    on conflict (owner) do update set seen_at = excluded.seen_at, known = excluded.known
), gone as (
    delete from varve.workers where seen_at < clock_timestamp() - interval '1 minute' and owner <> %(owner)s
)
select coalesce(ceil(sum(1.0 / (1 + others.workers))), 0)::integer as lanes,
       coalesce(array_agg(distinct g.projection) filter (where others.workers = 0), '{}') as alone,
       coalesce(bool_or(l.leased_until is null or l.leased_until < clock_timestamp()), false) as has_free
from varve.leases l join varve.generations g using (projection, generation)
cross join lateral (
    select count(*) as workers from varve.workers w
    where w.owner <> %(owner)s and w.seen_at > clock_timestamp() - make_interval(secs => %(seconds)s)
      and g.projection || ' ' || g.definition = any (w.known)
) others
where g.status in ('live', 'building') and g.paused_at is null
  and g.projection || ' ' || g.definition = any (%(known)s)
"""
_OWN = """where projection = %(projection)s and generation = %(generation)s and first_slot = %(first_slot)s
  and fence = %(fence)s
"""
_LEAVE = "delete from varve.workers where owner = %s"
_GIVE_BACK = f"""
update varve.leases set leased_until = null, owner = null
{_OWN}"""
_ACQUIRE = f"""
with free as (
    select l.projection, l.generation, l.first_slot, l.owner as former_owner, c.position
    from varve.leases l join varve.generations g using (projection, generation)
    cross join lateral varve.newest_checkpoint(l.projection, l.generation, l.first_slot) c
    join unnest(%(projections)s::text[], %(definitions)s::text[]) as known (projection, definition)
      on known.projection = g.projection and known.definition = g.definition
    where g.status in ('live', 'building') and g.paused_at is null
      and (l.leased_until is null or l.leased_until < clock_timestamp())
      and (l.needs_topic is null
           or exists (select from unnest(%(topics)s::text[], %(versions)s::integer[]) as k (topic, version)
                      where k.topic = l.needs_topic and k.version >= l.needs_version)
           or {LEFT_OUT.format(projection="l.projection", position="l.needs_position")}
           -- Older code does not say where; this code finds out.
           or l.needs_position is null)
    -- What others who are here do not know, or may not know, is taken beyond the share.
    order by not (l.projection = any (%(alone)s) or l.needs_topic is not null), l.projection, l.generation desc,
             l.first_slot
    limit %(most)s + (
        select count(*) from varve.leases f
        where (f.leased_until is null or f.leased_until < clock_timestamp())
          and (f.projection = any (%(alone)s) or f.needs_topic is not null))
    for update of l skip locked
)
update varve.leases l
set owner = %(owner)s, fence = l.fence + 1, leased_until = clock_timestamp() + make_interval(secs => %(seconds)s),
    needs_topic = null, needs_version = null, needs_position = null, filled_to = null,
    -- An owner that is still named gave nothing back: it is gone, and was maybe ended by what is next in the log.
    losses = least(l.losses + coalesce(
        l.owner <> %(owner)s and (%(is_after_crash)s or free.position <= l.reached), false)::integer, 1000),
    renewed_at = clock_timestamp(), reached = free.position, rate = 0
from free, varve.generations g
where (l.projection, l.generation, l.first_slot) = (free.projection, free.generation, free.first_slot)
  and (g.projection, g.generation) = (l.projection, l.generation)
returning {_LEASE.format(former_owner="free.former_owner", lane="free")}
"""
# Locked in the order in which checkpoints that move together are, so that neither waits for the other. The row is
# written anyway: what it also says of the lane's movement costs no write.
_RENEW = f"""
with mine as (
    select l.projection, l.generation, l.first_slot, c.position, greatest(c.position, l.filled_to) as reached,
           extract(epoch from clock_timestamp() - l.renewed_at)::double precision + 0.001 as seconds
    from varve.leases l join varve.generations g using (projection, generation)
    cross join lateral varve.newest_checkpoint(l.projection, l.generation, l.first_slot) c
    where l.owner = %(owner)s and l.leased_until > clock_timestamp()
      and g.status in ('live', 'building') and g.paused_at is null
    order by 1, 2, 3
    for no key update of l {{locked}}
)
update varve.leases l
set leased_until = clock_timestamp() + make_interval(secs => %(seconds)s), renewed_at = clock_timestamp(),
    reached = mine.reached, moved_at = case when mine.reached > l.reached then clock_timestamp() else l.moved_at end,
    rate = l.rate + (greatest(mine.reached - l.reached, 0) / mine.seconds - l.rate)
                  * (1 - exp(-mine.seconds / {_RATE_SECONDS}))
from mine, varve.generations g
where (l.projection, l.generation, l.first_slot) = (mine.projection, mine.generation, mine.first_slot)
  and (g.projection, g.generation) = (l.projection, l.generation)
returning {_LEASE.format(former_owner="null", lane="mine")}
"""
# Leases of what is paused or no longer live run out, too: their owners are well as long as they say so.
_LATE = """
select distinct l.owner from varve.leases l join varve.generations g using (projection, generation)
where l.owner is not null and l.leased_until < clock_timestamp()
  and g.status in ('live', 'building') and g.paused_at is null
  and not exists (select from varve.workers w
                  where w.owner = l.owner and w.seen_at > clock_timestamp() - make_interval(secs => %s))
"""
_RELEASE = "update varve.leases set leased_until = null, owner = null where owner = %s"
# Sessions of a worker's children carry its name, too: `name!number`.
_TERMINATE = """
select pg_terminate_backend(pid) from pg_stat_activity
where usename = current_user and split_part(application_name, '!', 1) = any (%s)
"""
# What was read from a server that is gone must not be written here: this one may hold another history.
_HISTORY = """varve.log_epochs n on n.number = (select max(number) from varve.log_epochs)
     and n.timeline = left(pg_walfile_name(pg_current_wal_lsn()), 8)"""
# A lease's row is locked as an update would lock it, so that nobody takes the lane over before the commit.
_ADVANCE = f"""
with asked as (
    select * from unnest(%(projections)s::text[], %(generations)s::integer[], %(first_slots)s::smallint[],
                         %(fences)s::bigint[], %(epochs)s::text[], %(froms)s::bigint[], %(tos)s::bigint[])
        as a (projection, generation, first_slot, fence, epoch, position, reached)
), held as (
    select l.projection, l.generation, l.first_slot, a.position, a.reached, l.failures
    from asked a
    join varve.leases l on (l.projection, l.generation, l.first_slot) = (a.projection, a.generation, a.first_slot)
     and l.fence = a.fence and l.leased_until > clock_timestamp()
    join {_HISTORY} and n.epoch = a.epoch
    order by 1, 2, 3
    for no key update of l
), last as (
    delete from varve.checkpoints c
    using held h cross join lateral varve.newest_checkpoint(h.projection, h.generation, h.first_slot) n
    where c.ctid = n.place and n.position = h.position
    returning c.projection, c.generation, c.first_slot, h.reached, h.failures
), recovered as (
    update varve.leases l set error = null, failures = 0 from last
    where last.failures > 0
      and (l.projection, l.generation, l.first_slot) = (last.projection, last.generation, last.first_slot)
)
insert into varve.checkpoints (projection, generation, first_slot, position)
select projection, generation, first_slot, reached from last
returning projection, generation, first_slot::integer
"""
_HOLD = f"""
select from varve.leases l
join {_HISTORY} and n.epoch = %(epoch)s
where l.projection = %(projection)s and l.generation = %(generation)s and l.first_slot = %(first_slot)s
  and l.fence = %(fence)s and l.leased_until > clock_timestamp()
for no key update of l
"""
_FAIL = f"""
update varve.leases set error = %(error)s, failures = failures + 1, filled_to = null
{_OWN}"""
_PROGRESS = f"""
update varve.leases set filled_to = %(position)s
{_OWN}"""
_SUSPECT = f"""
update varve.leases set losses = losses + 1
{_OWN}"""
_CLEAR = f"""
update varve.leases set losses = 0
{_OWN}"""
_CHECKPOINT = """
select position from varve.newest_checkpoint(%(projection)s, %(generation)s, %(first_slot)s::smallint)
"""
_NEEDS = f"""
update varve.leases
set needs_topic = %(topic)s, needs_version = %(version)s, needs_position = %(position)s,
    owner = null, leased_until = null
{_OWN}"""


async def part_of(connection: Connection, owner: str, known: Known, seconds: float) -> Share:
    """Say that a worker is here, and return what its part of the lanes is among all that run.

    Args:
        connection: as the projector.
        owner: the worker.
        known: what its code knows.
        seconds: for how long a worker that says no more is thought to be here.
    """
    definitions = [f"{projection} {definition}" for projection, definition in known.definitions.items()]
    cursor = connection.cursor(row_factory=class_row(Share))
    await cursor.execute(_SHARE, {"owner": owner, "known": definitions, "seconds": seconds}, prepare=True)
    return await cursor.fetchone() or Share(0, [], has_free=False)


async def acquire(
    connection: Connection,
    owner: str,
    known: Known,
    seconds: float,
    *,
    most: int = SLOTS,
    alone: Collection[str] = (),
    is_after_crash: bool = False,
) -> list[LaneLease]:
    """Take lanes that nobody holds and that this code can run: it knows the definition and the next event.

    An event that it does not know is no obstacle once an operator has voided or skipped it.

    Args:
        connection: as the projector.
        owner: who takes them.
        known: what the owner's code knows.
        seconds: how long each lease lasts.
        most: how many to take, besides those of `alone`.
        alone: projections that no other worker knows.
        is_after_crash: whether lanes that moved to the last are suspected, too: their worker is known to have crashed.
    """
    cursor = connection.cursor(row_factory=class_row(LaneLease))
    parameters = {"owner": owner, "seconds": seconds, "most": most, "alone": list(alone), **known.parameters()}
    parameters["is_after_crash"] = is_after_crash
    await cursor.execute(_ACQUIRE, parameters)
    return await cursor.fetchall()


async def give_back(connection: Connection, lease: LaneLease) -> None:
    """Give one lease back, so that another worker can take the lane at once."""
    await connection.execute(_GIVE_BACK, _lane(lease))


async def late_owners(connection: Connection, seconds: float) -> set[str]:
    """Return whose leases ran out, and who said nothing for `seconds`: they may keep what they had locked."""
    cursor = await connection.execute(_LATE, (seconds,), prepare=True)
    return {owner for (owner,) in await cursor.fetchall()}


async def end_sessions(connection: Connection, owners: Collection[str]) -> None:
    """End the database sessions of workers whose leases ran out: a stopped one may hold locks on the lanes' rows.

    Args:
        connection: as the projector; its sessions carry the owner as their application name.
        owners: who had the lanes before.
    """
    if owners:
        await connection.execute(_TERMINATE, (list(owners),))


async def renew(connection: Connection, owner: str, seconds: float, *, waits: bool) -> list[LaneLease]:
    """Prolong the leases of `owner` and return those that it still has, or all but those that somebody keeps locked.

    Args:
        connection: as the projector.
        owner: the worker.
        seconds: from now on.
        waits: whether to wait for whoever has locked one, which is a swap, or a worker that was stopped in one.

    Raises:
        psycopg.errors.LockNotAvailable: `waits`, and that was too long.
    """
    cursor = connection.cursor(row_factory=class_row(LaneLease))
    if waits:
        await connection.execute("select set_config('lock_timeout', %s, true)", (_LONGEST_WAIT,), prepare=True)
    renewing = _RENEW.format(locked="" if waits else "skip locked")
    await cursor.execute(renewing, {"owner": owner, "seconds": seconds}, prepare=True)
    return await cursor.fetchall()


async def release(connection: Connection, owner: str) -> None:
    """Give every lease back, so that another worker need not wait for its end."""
    await connection.execute(_RELEASE, (owner,))
    await connection.execute(_LEAVE, (owner,))


async def advance(connection: Connection, lease: LaneLease, position: int, to: int) -> None:
    """Move the lane's position, in the transaction that wrote the rows.

    Raises:
        LeaseLostError: the lease is over or another's, or the log has another history than the one that was read; the
            caller's transaction must not commit.
    """
    if not await advance_each(connection, [Move(lease, position, to)]):
        raise LeaseLostError


async def advance_each(connection: Connection, moves: Sequence[Move]) -> set[LaneKey]:
    """Move lanes, each once, and return those whose leases held; the others stay where they are."""
    parameters = {
        "projections": [move.lease.projection for move in moves],
        "generations": [move.lease.generation for move in moves],
        "first_slots": [move.lease.first_slot for move in moves],
        "fences": [move.lease.fence for move in moves],
        "epochs": [move.lease.epoch for move in moves],
        "froms": [move.position for move in moves],
        "tos": [move.to for move in moves],
    }
    cursor = await connection.execute(_ADVANCE, parameters, prepare=True)
    return set(await cursor.fetchall())


async def hold(connection: Connection, lease: LaneLease) -> None:
    """Keep others from taking the lane over until the open transaction ends, which leaves its position alone.

    Raises:
        LeaseLostError: as for `advance`.
    """
    if (await connection.execute(_HOLD, _lane(lease) | {"epoch": lease.epoch})).rowcount != 1:
        raise LeaseLostError


async def note_failure(connection: Connection, lease: LaneLease, error: str) -> None:
    """Show on the lane why it does not move."""
    await connection.execute(_FAIL, _lane(lease) | {"error": error})


async def note_suspicion(connection: Connection, lease: LaneLease) -> None:
    """Have the lane run in a child, by this worker or the next one, until it is past what it stands at."""
    await connection.execute(_SUSPECT, _lane(lease))


async def clear_suspicion(connection: Connection, lease: LaneLease) -> None:
    """Let the lane run beside others again."""
    await connection.execute(_CLEAR, _lane(lease))


async def checkpoint_of(connection: Connection, lease: LaneLease) -> int:
    """Return the lane's position, which a child of its worker may have moved.

    Raises:
        LeaseLostError: the lane is no longer there.
    """
    found = await (await connection.execute(_CHECKPOINT, _lane(lease))).fetchone()
    if found is None:
        raise LeaseLostError
    return int(found[0])


async def note_progress(connection: Connection, lease: LaneLease, position: int) -> None:
    """Show how far a lane has read whose rows are not written yet."""
    await connection.execute(_PROGRESS, _lane(lease) | {"position": position})


async def leave_to_newer_code(connection: Connection, lease: LaneLease, unknown: UnknownEvent) -> None:
    """Give the lane back, for a worker that knows the event that is next, or for any once that is left out."""
    wanted = {"topic": unknown.topic, "version": unknown.class_version, "position": unknown.position}
    await connection.execute(_NEEDS, _lane(lease) | wanted)


def _lane(lease: LaneLease) -> dict[str, str | int]:
    return {
        "projection": lease.projection,
        "generation": lease.generation,
        "first_slot": lease.first_slot,
        "fence": lease.fence,
    }
