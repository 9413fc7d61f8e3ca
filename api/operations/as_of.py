"""Routes about read models as they stood at a past position."""

from http import HTTPStatus
from uuid import UUID

from fastapi import APIRouter, Request, Response

from api.answers import ASKED, answer_query
from api.operations.routes import request_url
from api.requests import CommandRequestOf, ServicesOf
from api.responses import CommandOutcome, no_content, outcome
from api.routing import ApiRoute, sends
from commands.operations.as_of import AsOfPlan, BuildAsOf, DropAsOf
from queries.operations.as_of import AsOfView, ListAsOf

router = APIRouter(prefix="/admin/as-of", tags=["operations"], route_class=ApiRoute)


@router.post("", status_code=HTTPStatus.ACCEPTED)
@sends(BuildAsOf)
async def build_as_of(
    plan: AsOfPlan, sent: CommandRequestOf, services: ServicesOf, response: Response
) -> CommandOutcome:
    """Build read models as they stood then; queries with `aggregate_id` as X-As-Of answer from those that are kept."""
    answer = await services.commands.execute(BuildAsOf(plan=plan), sent)
    return outcome(answer, response, request_url(answer))


@router.get("", response_model=list[AsOfView], openapi_extra=ASKED)
async def list_as_of(request: Request) -> Response:
    """Return what was built, or is being built."""
    return await answer_query(ListAsOf(), request)


@router.delete("/{as_of_id}", status_code=HTTPStatus.NO_CONTENT)
@sends(DropAsOf)
async def drop_as_of(as_of_id: UUID, sent: CommandRequestOf, services: ServicesOf) -> Response:
    """Do without it from now on; 409 when there is nothing of this id."""
    answer = await services.commands.execute(DropAsOf(as_of_id=as_of_id), sent)
    response = no_content(answer)
    response.headers["Location"] = request_url(answer)
    return response
