"""The route of the search."""

from typing import Annotated

from fastapi import APIRouter, Query, Response

from api.requests import ActorOf, AsOf, MinPosition, ServicesOf
from api.responses import value_of
from queries.search.message import Search, SearchResults

router = APIRouter(tags=["search"])


@router.get("/search")
async def search(
    query: Annotated[Search, Query()],
    actor: ActorOf,
    services: ServicesOf,
    response: Response,
    min_position: MinPosition = None,
    as_of: AsOf = None,
) -> SearchResults:
    """Search entries and documents: by meaning, by words, or by both."""
    results: SearchResults = value_of(await services.queries.ask(query, actor, min_position, as_of), response)
    return results
