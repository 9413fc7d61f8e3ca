"""Routes of operators, and the audit of one command."""

from http import HTTPStatus
from uuid import UUID

from fastapi import APIRouter, Response

from api.requests import ActorOf, CommandRequestOf, ServicesOf
from api.responses import CommandOutcome, outcome, value_of
from commands.operations.rebuild_projection import ProjectionName, RebuildProjection
from queries.operations.commands import CommandView, GetCommand
from queries.operations.projections import LaneView, ListProjections

router = APIRouter(tags=["operations"])


@router.get("/commands/{command_id}")
async def get_command(command_id: UUID, actor: ActorOf, services: ServicesOf, response: Response) -> CommandView:
    command: CommandView = value_of(await services.queries.ask(GetCommand(command_id=command_id), actor), response)
    return command


@router.get("/admin/projections")
async def list_projections(actor: ActorOf, services: ServicesOf, response: Response) -> list[LaneView]:
    """Return every lane of every generation, with its position and its distance from the log's end."""
    lanes: list[LaneView] = value_of(await services.queries.ask(ListProjections(), actor), response)
    return lanes


@router.post("/admin/projections/{name}/rebuilds", status_code=HTTPStatus.ACCEPTED)
async def rebuild_projection(
    name: ProjectionName, sent: CommandRequestOf, services: ServicesOf, response: Response
) -> CommandOutcome:
    """Fill a new generation beside the live one; it is read from as soon as it has caught up."""
    answer = await services.commands.execute(RebuildProjection(projection=name), sent)
    return outcome(answer, response, "/api/v1/admin/projections")
