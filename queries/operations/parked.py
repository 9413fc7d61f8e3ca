"""What projections have put aside of the asking operator's tenant."""

from datetime import datetime
from typing import Annotated, ClassVar

from pydantic import BaseModel, ConfigDict, Field

from domain.operations.events import ProjectionName
from domain.shared.access import Permission
from queries.message import Answer, Asking, Query
from queries.ports import Question
from queries.tokens import with_token

_SQL = """
select p.projection, p.generation, g.status, p.position, p.partition, p.error, p.attempts, p.parked_at, p.is_to_retry
from varve.parked p join varve.generations g using (projection, generation)
where p.projection = %(projection)s and p.position > %(after)s order by p.position, p.generation limit %(limit)s
"""


class ParkedEvent(BaseModel):
    """An event that was not applied; one without an `error` waits behind another of its partition."""

    model_config = ConfigDict(frozen=True)

    projection: str
    generation: int
    status: str
    position: str
    partition: str
    error: str | None
    attempts: int
    parked_at: datetime
    is_to_retry: bool


class ListParkedEvents(Query):
    """`after` is the position, as a number of the log's present history, after which the list begins."""

    PERMISSION: ClassVar[Permission] = Permission.OPERATIONS_MANAGE
    MODELS: ClassVar[tuple[str, ...]] = ()

    projection: ProjectionName
    after: Annotated[int, Field(ge=0)] = 0
    limit: Annotated[int, Field(ge=1, le=200)] = 50


async def list_parked_events(query: ListParkedEvents, asking: Asking) -> Answer[list[ParkedEvent]]:
    reached = await asking.read_models.reached(())
    reading = await asking.read_models.read(asking.actor, Question((), _SQL, query.model_dump()))
    events = [ParkedEvent(**with_token(row, reached.epoch)) for row in reading.rows]
    return Answer(events, reached.head, reached.epoch)
