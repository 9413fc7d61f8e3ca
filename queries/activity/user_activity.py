"""UserActivityView: what a user did, newest first; without the permission for others', one's own."""

from datetime import datetime
from typing import Annotated, Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from domain.shared.access import Permission
from domain.shared.values import Text
from queries.message import Answer, Asking, Page, Query, answer_of
from queries.paging import decode_cursor, page_of
from queries.ports import Question
from queries.tokens import with_token

_MODEL = "user_activity"
_SORT = "-position"


class Activity(BaseModel):
    model_config = ConfigDict(frozen=True)

    user_id: str
    position: str
    event_type: str
    stream: str
    command_type: str
    recorded_at: datetime


class ListActivity(Query):
    PERMISSION: ClassVar[Permission] = Permission.KNOWLEDGE_READ
    MODELS: ClassVar[tuple[str, ...]] = (_MODEL,)
    IS_SHARED: ClassVar[bool] = True

    user: Text | None = None
    limit: Annotated[int, Field(ge=1, le=200)] = 50
    cursor: str | None = None


async def list_activity(query: ListActivity, asking: Asking) -> Answer[Page[Activity]]:
    """Return a page of activities.

    Raises:
        PermissionDenied: the roles don't allow to see another user's.
        InvalidCursor: the cursor is not of this list.
    """
    if query.user != asking.actor.user:
        asking.actor.require(Permission.ACTIVITY_READ)
    conditions = ["true"]
    parameters: dict[str, Any] = {"limit": query.limit, "user": query.user}
    if query.user is not None:
        conditions.append("a.user_id = %(user)s")
    if query.cursor is not None:
        (parameters["before"],) = decode_cursor(query.cursor, _SORT, [TypeAdapter(int)])
        conditions.append("a.position < %(before)s")
    sql = (
        "select a.user_id, a.position, a.event_type, a.stream, a.command_type, a.recorded_at "
        f"from {{user_activity.activities}} a where {' and '.join(conditions)} "
        "order by a.tenant desc, a.position desc limit %(limit)s + 1"
    )
    reading = await asking.read_models.read(asking.actor, Question(query.MODELS, sql, parameters))
    items = [Activity(**with_token(row, reading.epoch)) for row in reading.rows]
    page = page_of(items, reading.rows, query.limit, _SORT, ("position",))
    return answer_of(page, reading)
