"""The route of the search."""

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from api.answers import ASKED, answer_query
from api.routing import ApiRoute
from queries.search.message import Search, SearchResults

router = APIRouter(tags=["search"], route_class=ApiRoute)


@router.get("/search", response_model=SearchResults, openapi_extra=ASKED)
async def search(query: Annotated[Search, Query()], request: Request) -> Response:
    """Search entries and documents: by meaning, by words, or by both."""
    return await answer_query(query, request)
