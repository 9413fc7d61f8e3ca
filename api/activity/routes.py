"""Routes of the activity of users."""

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel

from api.answers import ASKED, answer_query
from api.routing import ApiRoute
from queries.activity.user_activity import Activity, ListActivity

router = APIRouter(tags=["activity"], route_class=ApiRoute)


class ActivityPage(BaseModel):
    items: list[Activity]
    next_cursor: str | None


@router.get("/activity", response_model=ActivityPage, openapi_extra=ASKED)
async def list_activity(query: Annotated[ListActivity, Query()], request: Request) -> Response:
    """Return what `user` did, newest first; without `user` everybody's, for those who may see it."""
    return await answer_query(query, request)
