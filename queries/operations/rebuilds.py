"""How rebuilds are getting on, and what those that compared have found."""

from collections.abc import Mapping
from datetime import datetime
from typing import ClassVar
from uuid import UUID

from pydantic import BaseModel, ConfigDict

from domain.operations.events import ProjectionName
from domain.shared.access import Permission
from queries.message import Answer, Asking, Query
from queries.ports import Question
from queries.tokens import with_token

# A lane has read as far as it says itself while its rows are still in memory.
_BUILDING = """
select projection, generation, purpose, only_tenant, as_of, created_at as started_at,
       paused_at is not null as is_paused, position, head - position as events_left,
       round((position / nullif(seconds, 0))::numeric, 1)::float as rate,
       case when paused_at is null and position > 0
            then round(((head - position) * seconds / position)::numeric, 1)::float end as seconds_left
from (
    select g.projection, g.generation, g.purpose, g.only_tenant, g.as_of, g.created_at, g.paused_at,
           min(greatest(l.position, l.filled_to)) as position, coalesce(g.up_to, varve.head()) as head,
           extract(epoch from clock_timestamp() - g.created_at)::float as seconds
    from varve.generations g join varve.lanes l using (projection, generation)
    where g.status = 'building' and g.projection = %(projection)s
    group by g.projection, g.generation
) building
order by generation
"""
_VERIFICATIONS = """
select projection, generation, only_tenant, position, is_repaired, differing, by_table, finished_at
from varve.verifications where projection = %(projection)s order by generation desc limit 50
"""


class RebuildView(BaseModel):
    """A generation that is being filled.

    `rate` is in events of the log per second, from the start on; `seconds_left` goes by it, and is unknown at the
    start and in a pause.
    """

    model_config = ConfigDict(frozen=True)

    projection: str
    generation: int
    purpose: str
    only_tenant: str | None
    as_of: UUID | None
    started_at: datetime
    is_paused: bool
    position: str
    events_left: int
    rate: float | None
    seconds_left: float | None


class VerificationView(BaseModel):
    """What a rebuild found: how many rows of the live generation were not as it made them, at the same position.

    If it was a repair, they are so now. `varve projections differences` shows the first of their keys.
    """

    model_config = ConfigDict(frozen=True)

    projection: str
    generation: int
    only_tenant: str | None
    position: str
    is_repaired: bool
    differing: int
    by_table: Mapping[str, int]
    finished_at: datetime


class ListRebuilds(Query):
    """Asks for those that are under way."""

    PERMISSION: ClassVar[Permission] = Permission.OPERATIONS_MANAGE
    MODELS: ClassVar[tuple[str, ...]] = ()

    projection: ProjectionName


class ListVerifications(Query):
    """Asks for the newest ones."""

    PERMISSION: ClassVar[Permission] = Permission.OPERATIONS_MANAGE
    MODELS: ClassVar[tuple[str, ...]] = ()

    projection: ProjectionName


async def list_rebuilds(query: ListRebuilds, asking: Asking) -> Answer[list[RebuildView]]:
    reached = await asking.read_models.reached(())
    reading = await asking.read_models.read(asking.actor, Question((), _BUILDING, query.model_dump()))
    rebuilds = [RebuildView(**with_token(row, reached.epoch)) for row in reading.rows]
    return Answer(rebuilds, reached.head, reached.epoch)


async def list_verifications(query: ListVerifications, asking: Asking) -> Answer[list[VerificationView]]:
    reached = await asking.read_models.reached(())
    reading = await asking.read_models.read(asking.actor, Question((), _VERIFICATIONS, query.model_dump()))
    found = [VerificationView(**with_token(row, reached.epoch)) for row in reading.rows]
    return Answer(found, reached.head, reached.epoch)
