"""Routes of the activity of users."""

from typing import Annotated

from fastapi import APIRouter, Query, Response
from pydantic import BaseModel

from api.requests import ActorOf, AsOf, MinPosition, ServicesOf
from api.responses import value_of
from queries.activity.user_activity import Activity, ListActivity

router = APIRouter(tags=["activity"])


class ActivityPage(BaseModel):
    items: list[Activity]
    next_cursor: str | None


@router.get("/activity")
async def list_activity(
    query: Annotated[ListActivity, Query()],
    actor: ActorOf,
    services: ServicesOf,
    response: Response,
    min_position: MinPosition = None,
    as_of: AsOf = None,
) -> ActivityPage:
    """Return what `user` did, newest first; without `user` everybody's, for those who may see it."""
    page = value_of(await services.queries.ask(query, actor, min_position, as_of), response)
    return ActivityPage(items=page.items, next_cursor=page.next_cursor)
