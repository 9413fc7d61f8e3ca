"""The read models that were built as of a past position."""

from datetime import datetime
from typing import ClassVar, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict

from domain.shared.access import Permission
from queries.message import Answer, Asking, Query
from queries.ports import Question
from queries.tokens import with_token

_SQL = """
select as_of, projection, status, only_tenant, up_to as position, created_at as started_at
from varve.generations where status in ('building', 'kept') and as_of is not null
order by created_at, as_of, projection
"""


class AsOfView(BaseModel):
    """One read model as it stood at `position`. It can be asked, with the header X-As-Of, when it is `kept`."""

    model_config = ConfigDict(frozen=True)

    as_of: UUID
    projection: str
    status: Literal["building", "kept"]
    only_tenant: str | None
    position: str
    started_at: datetime


class ListAsOf(Query):
    PERMISSION: ClassVar[Permission] = Permission.AUDIT_READ
    MODELS: ClassVar[tuple[str, ...]] = ()


async def list_as_of(query: ListAsOf, asking: Asking) -> Answer[list[AsOfView]]:
    reached = await asking.read_models.reached(())
    reading = await asking.read_models.read(asking.actor, Question((), _SQL))
    views = [AsOfView(**with_token(row, reached.epoch)) for row in reading.rows]
    return Answer(views, reached.head, reached.epoch)
