"""How every projection is: its generations, how far each lane is behind the log, and what is wrong with it."""

from datetime import datetime
from typing import Any, ClassVar, Literal, get_args

from pydantic import BaseModel, ConfigDict

from domain.shared.access import Actor, Permission
from eventstore.position import LogPosition
from queries.message import Answer, Asking, Query, QueryHandler
from queries.ports import Question, ReadModels, Row
from queries.tokens import with_token

Alarm = Literal["paused", "needs_newer_code", "no_owner", "failing", "stalled", "parked"]
ALARMS: tuple[Alarm, ...] = get_args(Alarm)

# The first event after a lane's position may be one that it does not take; but then the lane is about to pass it.
_SQL = """
with each as (
    select l.projection, l.generation, g.status, g.purpose, g.lanes, l.first_slot, l.last_slot, c.position,
           greatest(c.position, l.filled_to) as reached, coalesce(g.up_to, now.head) as head, now.time,
           now.time - make_interval(secs => %(alarm_seconds)s) as too_late,
           case when l.leased_until > now.time then l.owner end as owner,
           greatest(c.advanced_at, l.moved_at) as advanced_at, l.renewed_at,
           coalesce(l.renewed_at, g.created_at) as owned_at,
           case when l.leased_until > now.time then l.rate else 0 end as rate, l.failures, l.error,
           varve.parked_count(l.projection, l.generation) as parked,
           varve.retrying_count(l.projection, l.generation) as retrying, g.live_since,
           g.pause_reason as paused, not g.is_indexed and c.position > 0 as is_being_indexed,
           l.needs_topic || ' ' || l.needs_version as needs,
           case when l.needs_topic is not null then l.needs_position end as needs_position
    from varve.leases l join varve.generations g using (projection, generation)
    cross join lateral varve.newest_checkpoint(l.projection, l.generation, l.first_slot) c
    cross join (select varve.head() as head, clock_timestamp() as time) now
), behind as (
    select each.*, case when reached < head then varve.recorded_after(reached) end as oldest_unapplied_at from each
)
select projection, generation, status, purpose, lanes, first_slot, last_slot, position,
       greatest(head - reached, 0) as lag,
       case when head > reached then reached::double precision / head else 1 end as progress, oldest_unapplied_at,
       greatest(coalesce(extract(epoch from time - oldest_unapplied_at), 0), 0)::double precision as lag_seconds,
       round(rate::numeric, 1)::double precision as rate, owner, renewed_at, advanced_at,
       extract(epoch from time - advanced_at)::double precision as checkpoint_age, failures, error, parked, retrying,
       live_since, paused, needs, needs_position,
       case when status in ('retired', 'kept') then null
            when paused is not null then 'paused'
            when needs is not null then 'needs_newer_code'
            when owner is null and owned_at < too_late then 'no_owner'
            when failures > 0 then 'failing'
            when oldest_unapplied_at < too_late and advanced_at < too_late
                 and not is_being_indexed then 'stalled'
            when parked > 0 then 'parked' end as alarm
from behind
order by projection, generation, first_slot
"""


class LaneView(BaseModel):
    """One lane: a range of a projection's slots.

    Attributes:
        status: of the generation.
        purpose: what becomes of a generation that is `building`; one that was built as of a position is `kept`.
        lanes: how many the generation is to have.
        lag: how many events of the log it has not passed; a rebuild has passed what it holds in memory.
        progress: how much of the log it has passed, 0 to 1.
        oldest_unapplied_at: when the first event after its position was recorded, whether it is for this projection or
            not: lanes pass those that are not.
        lag_seconds: how long ago that was; 0 at the head of the log.
        rate: how many positions of the log it has passed in a second, of late.
        owner: the worker that runs it, if any.
        renewed_at: the worker's last sign of life, idle or not; each 0.75 s.
        advanced_at: when it last came further.
        checkpoint_age: how many seconds ago that was.
        failures: how often in a row its batch has failed, with `error`.
        parked: events that the whole generation has put aside, those that wait behind others among them.
        retrying: how many of them are about to be tried again.
        live_since: when the generation came to be read, if it ever did.
        paused: why no worker runs it.
        needs: the type and version of the event that no running code knows, and that the lane stands at.
        needs_position: where that event is in the log, for `varve events void` and `varve projections skip`.
        alarm: what an operator should look at: the first of `ALARMS` that is so. `stalled` is a lane behind the log
            that has not moved for as long as the setting `alarm_seconds` says, though a worker holds it.
    """

    model_config = ConfigDict(frozen=True)

    projection: str
    generation: int
    status: Literal["building", "live", "retired", "kept"]
    purpose: Literal["swap", "hold", "verify", "repair", "as_of"]
    lanes: int
    first_slot: int
    last_slot: int
    position: str
    lag: int
    progress: float
    oldest_unapplied_at: datetime | None
    lag_seconds: float
    rate: float
    owner: str | None
    renewed_at: datetime | None
    advanced_at: datetime
    checkpoint_age: float
    failures: int
    error: str | None
    parked: int
    retrying: int
    live_since: datetime | None
    paused: str | None
    needs: str | None
    needs_position: str | None
    alarm: Alarm | None


class ListProjections(Query):
    PERMISSION: ClassVar[Permission] = Permission.OPERATIONS_MANAGE
    MODELS: ClassVar[tuple[str, ...]] = ()


def projections_handler(alarm_seconds: float) -> QueryHandler[ListProjections, Any]:
    """Return the handler; what lasts longer than `alarm_seconds` is an alarm."""

    async def list_projections(query: ListProjections, asking: Asking) -> Answer[list[LaneView]]:
        reached = await asking.read_models.reached(())
        lanes = await read_lanes(asking.read_models, asking.actor, reached.epoch, alarm_seconds)
        return Answer(lanes, reached.head, reached.epoch)

    return list_projections


async def read_lanes(read_models: ReadModels, actor: Actor, epoch: str, alarm_seconds: float) -> list[LaneView]:
    """Return every lane of every generation, with positions as tokens of `epoch`; nothing of it is a tenant's."""
    reading = await read_models.read(actor, Question((), _SQL, {"alarm_seconds": alarm_seconds}))
    return [LaneView(**_with_tokens(row, epoch)) for row in reading.rows]


def _with_tokens(row: Row, epoch: str) -> Row:
    needs = row["needs_position"]
    return with_token(row, epoch) | {"needs_position": None if needs is None else str(LogPosition(epoch, needs))}
