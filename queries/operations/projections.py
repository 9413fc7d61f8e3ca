"""How every projection is: its generations, and how far each lane is behind the log."""

from datetime import datetime
from typing import ClassVar, Literal

from pydantic import BaseModel, ConfigDict

from domain.shared.access import Permission
from eventstore.position import LogPosition
from queries.message import Answer, Asking, Query
from queries.ports import Question


class LaneView(BaseModel):
    """One lane: a range of a projection's slots.

    `lag` counts the events of the log that the lane has not passed; `owner` is the worker that runs it, if any.
    `parked` are the events that the whole generation has put aside, those that wait behind others among them. `paused`
    says why no worker runs it; `needs` names the event that only newer code knows. `purpose` says what becomes of a
    generation that is `building`; one that was built as of a position is `kept`.
    """

    model_config = ConfigDict(frozen=True)

    projection: str
    generation: int
    status: Literal["building", "live", "retired", "kept"]
    purpose: Literal["swap", "hold", "verify", "repair", "as_of"]
    first_slot: int
    last_slot: int
    position: str
    lag: int
    owner: str | None
    advanced_at: datetime
    failures: int
    error: str | None
    parked: int
    paused: str | None
    needs: str | None


class ListProjections(Query):
    PERMISSION: ClassVar[Permission] = Permission.OPERATIONS_MANAGE
    MODELS: ClassVar[tuple[str, ...]] = ()


async def list_projections(query: ListProjections, asking: Asking) -> Answer[list[LaneView]]:
    sql = (
        "select l.projection, l.generation, g.status, g.purpose, l.first_slot, l.last_slot, l.position, "
        "coalesce(g.up_to, varve.head()) - greatest(l.position, l.filled_to) as lag, "
        "case when l.leased_until > clock_timestamp() then l.owner end as owner, l.advanced_at, l.failures, l.error, "
        "varve.parked_count(l.projection, l.generation) as parked, g.pause_reason as paused, "
        "l.needs_topic || ' ' || l.needs_version as needs "
        "from varve.lanes l join varve.generations g using (projection, generation) "
        "order by l.projection, l.generation, l.first_slot"
    )
    reached = await asking.read_models.reached(())
    reading = await asking.read_models.read(asking.actor, Question((), sql))
    lanes = [LaneView(**{**row, "position": str(LogPosition(reached.epoch, row["position"]))}) for row in reading.rows]
    return Answer(lanes, reached.head, reached.epoch)
