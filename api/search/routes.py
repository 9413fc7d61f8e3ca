"""The route of the search."""

from typing import Annotated

from fastapi import APIRouter, Query, Response

from api.answers import AskerOf
from queries.search.message import Search, SearchResults

router = APIRouter(tags=["search"])


@router.get("/search", response_model=SearchResults)
async def search(query: Annotated[Search, Query()], asker: AskerOf) -> Response:
    """Search entries and documents: by meaning, by words, or by both."""
    return await asker.answer(query)
