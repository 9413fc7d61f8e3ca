"""Routes of operators, and the audit of one command.

A request about nothing is answered 409, with what there is. What became of an accepted one is its own resource.
"""

from http import HTTPStatus
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from api.answers import ASKED, answer_query
from api.requests import CommandRequestOf, ServicesOf
from api.responses import CommandOutcome, outcome
from api.routing import ApiRoute, sends
from api.services import Services
from commands.message import Command, CommandAnswer, CommandRequest
from commands.operations.projections import (
    CancelRebuild,
    PauseProjection,
    RebuildPlan,
    RebuildProjection,
    ResumeProjection,
    RetryParkedEvents,
    RollBackProjection,
    SkipParkedEvent,
    SwapProjection,
)
from domain.operations.events import GenerationNumber, PositionToken, ProjectionName, Reason
from queries.operations.commands import CommandView, GetCommand
from queries.operations.kept_answers import KeptAnswerView, ListKeptAnswers
from queries.operations.parked import ListParkedEvents, ParkedEvent
from queries.operations.projections import LaneView, ListProjections
from queries.operations.rebuilds import ListRebuilds, ListVerifications, RebuildView, VerificationView
from queries.operations.requests import GetRequest, RequestView

router = APIRouter(tags=["operations"], route_class=ApiRoute)


class Because(BaseModel):
    model_config = ConfigDict(extra="forbid")

    reason: Reason


class Pausing(Because):
    """Of one generation, such as a rebuild's, or of the whole projection."""

    generation: GenerationNumber | None = None


class Resuming(BaseModel):
    model_config = ConfigDict(extra="forbid")

    generation: GenerationNumber | None = None


class OneOrAll(BaseModel):
    """The position of an event, or null for all."""

    model_config = ConfigDict(extra="forbid")

    position: PositionToken | None = None


class OneBecause(BaseModel):
    model_config = ConfigDict(extra="forbid")

    position: PositionToken
    reason: Reason


class ParkedPage(BaseModel):
    model_config = ConfigDict(extra="forbid")

    after: Annotated[int, Field(ge=0)] = 0
    limit: Annotated[int, Field(ge=1, le=200)] = 50


@router.get("/commands/{command_id}", response_model=CommandView, openapi_extra=ASKED)
async def get_command(command_id: UUID, request: Request) -> Response:
    return await answer_query(GetCommand(command_id=command_id), request)


@router.get("/admin/requests/{request_id}", response_model=RequestView, openapi_extra=ASKED)
async def get_request(request_id: UUID, request: Request) -> Response:
    """Return whether a request was carried out; its id is the `aggregate_id` that it was answered with."""
    return await answer_query(GetRequest(request_id=request_id), request)


@router.get("/admin/answers", response_model=list[KeptAnswerView], openapi_extra=ASKED)
async def list_kept_answers(query: Annotated[ListKeptAnswers, Query()], request: Request) -> Response:
    """Return the answers to your tenant's searches and lists that are kept, with how often they were given again."""
    return await answer_query(query, request)


@router.get("/admin/projections", response_model=list[LaneView], openapi_extra=ASKED)
async def list_projections(request: Request) -> Response:
    """Return every lane of every generation, with its position and its distance from the log's end."""
    return await answer_query(ListProjections(), request)


@router.post("/admin/projections/{name}/rebuilds", status_code=HTTPStatus.ACCEPTED)
@sends(RebuildProjection)
async def rebuild_projection(
    name: ProjectionName,
    sent: CommandRequestOf,
    services: ServicesOf,
    response: Response,
    plan: RebuildPlan = RebuildPlan(),  # noqa: B008 - frozen
) -> CommandOutcome:
    """Fill a new generation beside the live one; it is read from as soon as it has caught up, or as the plan says.

    While one is being filled, another one is refused.
    """
    return await _ask(RebuildProjection(projection=name, plan=plan), sent, services, response)


@router.get("/admin/projections/{name}/rebuilds", response_model=list[RebuildView], openapi_extra=ASKED)
async def list_rebuilds(name: ProjectionName, request: Request) -> Response:
    """Return the generations that are being filled, how fast, and how long it will take."""
    return await answer_query(ListRebuilds(projection=name), request)


@router.get("/admin/projections/{name}/verifications", response_model=list[VerificationView], openapi_extra=ASKED)
async def list_verifications(name: ProjectionName, request: Request) -> Response:
    """Return what rebuilds that compare or repair have found, the newest first."""
    return await answer_query(ListVerifications(projection=name), request)


@router.post("/admin/projections/{name}/swaps", status_code=HTTPStatus.ACCEPTED)
@sends(SwapProjection)
async def swap_projection(
    name: ProjectionName, sent: CommandRequestOf, services: ServicesOf, response: Response
) -> CommandOutcome:
    """Read from the generation that was to wait for this, as soon as it has caught up."""
    return await _ask(SwapProjection(projection=name), sent, services, response)


@router.post("/admin/projections/{name}/cancellations", status_code=HTTPStatus.ACCEPTED)
@sends(CancelRebuild)
async def cancel_rebuild(
    name: ProjectionName, sent: CommandRequestOf, services: ServicesOf, response: Response
) -> CommandOutcome:
    """Give up the generation that is being filled; the live one stays as it is."""
    return await _ask(CancelRebuild(projection=name), sent, services, response)


@router.post("/admin/projections/{name}/rollbacks", status_code=HTTPStatus.ACCEPTED)
@sends(RollBackProjection)
async def roll_back_projection(
    name: ProjectionName, sent: CommandRequestOf, services: ServicesOf, response: Response
) -> CommandOutcome:
    """Have the generation before the live one catch up; it is read from then on."""
    return await _ask(RollBackProjection(projection=name), sent, services, response)


@router.post("/admin/projections/{name}/pauses", status_code=HTTPStatus.ACCEPTED)
@sends(PauseProjection)
async def pause_projection(
    name: ProjectionName, body: Pausing, sent: CommandRequestOf, services: ServicesOf, response: Response
) -> CommandOutcome:
    """Let no worker run it, or one generation of it; its rows can be read, and grow old."""
    return await _ask(PauseProjection(projection=name, **body.model_dump()), sent, services, response)


@router.post("/admin/projections/{name}/resumptions", status_code=HTTPStatus.ACCEPTED)
@sends(ResumeProjection)
async def resume_projection(
    name: ProjectionName,
    sent: CommandRequestOf,
    services: ServicesOf,
    response: Response,
    body: Resuming = Resuming(),  # noqa: B008 - read only
) -> CommandOutcome:
    """Let workers run it again, whether an operator or a fold that always failed had paused it."""
    return await _ask(ResumeProjection(projection=name, **body.model_dump()), sent, services, response)


@router.get("/admin/projections/{name}/parked", response_model=list[ParkedEvent], openapi_extra=ASKED)
async def list_parked_events(name: ProjectionName, page: Annotated[ParkedPage, Query()], request: Request) -> Response:
    """Return what is put aside of your tenant; `varve projections parked` shows all, with the errors' stacks."""
    return await answer_query(ListParkedEvents(projection=name, after=page.after, limit=page.limit), request)


@router.post("/admin/projections/{name}/retries", status_code=HTTPStatus.ACCEPTED)
@sends(RetryParkedEvents)
async def retry_parked_events(
    name: ProjectionName, body: OneOrAll, sent: CommandRequestOf, services: ServicesOf, response: Response
) -> CommandOutcome:
    """Try again what is parked, each partition in its order: that of one event, or all."""
    return await _ask(RetryParkedEvents(projection=name, position=body.position), sent, services, response)


@router.post("/admin/projections/{name}/skips", status_code=HTTPStatus.ACCEPTED)
@sends(SkipParkedEvent)
async def skip_parked_event(
    name: ProjectionName, body: OneBecause, sent: CommandRequestOf, services: ServicesOf, response: Response
) -> CommandOutcome:
    """Do without a parked event, also in later generations; what waits behind it is tried."""
    command = SkipParkedEvent(projection=name, position=body.position, reason=body.reason)
    return await _ask(command, sent, services, response)


async def _ask(command: Command, sent: CommandRequest, services: Services, response: Response) -> CommandOutcome:
    answer = await services.commands.execute(command, sent)
    return outcome(answer, response, request_url(answer))


def request_url(answer: CommandAnswer) -> str:
    """Return where it is said what became of a request."""
    return f"/api/v1/admin/requests/{answer.aggregate_id}"
