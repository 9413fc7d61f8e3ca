"""What the answer to a command carries: its outcome, with version, location and position."""

from uuid import UUID

from fastapi import Response
from pydantic import BaseModel, ConfigDict

from commands.message import CommandAnswer

POSITION = "X-Position"


class CommandOutcome(BaseModel):
    """The events are durable. Send `position` as X-Min-Position to read them back."""

    model_config = ConfigDict(frozen=True)

    command_id: UUID
    aggregate_id: UUID | None
    version: int
    position: str


def outcome(answer: CommandAnswer, response: Response, location: str | None = None) -> CommandOutcome:
    """Return the body of a command's answer, and set the headers that go with it."""
    _set_command_headers(answer, response)
    if location is not None:
        response.headers["Location"] = location
    return CommandOutcome(
        command_id=answer.command_id,
        aggregate_id=answer.aggregate_id,
        version=answer.version,
        position=str(answer.position),
    )


def no_content(answer: CommandAnswer) -> Response:
    """Return 204 with the headers of a command's answer."""
    response = Response(status_code=204)
    _set_command_headers(answer, response)
    return response


def _set_command_headers(answer: CommandAnswer, response: Response) -> None:
    response.headers[POSITION] = str(answer.position)
    response.headers["X-Command-Id"] = str(answer.command_id)
    if answer.aggregate_id is not None:
        response.headers["ETag"] = f'"{answer.version}"'
    if answer.is_repeated:
        response.headers["Idempotency-Replayed"] = "true"
