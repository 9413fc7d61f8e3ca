"""The audit of one command: what was asked, by whom, and how it ended."""

from datetime import datetime
from typing import Any, ClassVar
from uuid import UUID

from pydantic import BaseModel, ConfigDict

from domain.shared.access import Permission
from eventstore.position import LogPosition
from queries.errors import CommandNotFound
from queries.message import Answer, Asking, Query
from queries.ports import Question


class CommandView(BaseModel):
    model_config = ConfigDict(frozen=True)

    command_id: UUID
    command_type: str
    aggregate_id: str | None
    data: dict[str, Any]
    metadata: dict[str, Any]
    user_id: str
    status: str
    position: str | None
    error: dict[str, Any] | None
    executed_at: datetime


class GetCommand(Query):
    PERMISSION: ClassVar[Permission] = Permission.COMMANDS_READ
    MODELS: ClassVar[tuple[str, ...]] = ()

    command_id: UUID


async def get_command(query: GetCommand, asking: Asking) -> Answer[CommandView]:
    """Return one's own command, or any of the tenant with the permission to see others' activity.

    Raises:
        CommandNotFound: there is none that the actor may see.
    """
    sql = (
        "select c.id as command_id, c.command_type, c.aggregate_id, c.data, c.metadata, c.user_id, c.status, "
        "c.position, c.error, c.executed_at from varve.commands c "
        "where c.tenant = (select varve.tenant()) and c.id = %(command_id)s "
        "and (c.user_id = %(user)s or %(sees_all)s)"
    )
    parameters = {
        "command_id": query.command_id,
        "user": asking.actor.user,
        "sees_all": asking.actor.may(Permission.ACTIVITY_READ),
    }
    reached = await asking.read_models.reached(())
    reading = await asking.read_models.read(asking.actor, Question((), sql, parameters))
    if not reading.rows:
        raise CommandNotFound(query.command_id)
    (row,) = reading.rows
    position = None if row["position"] is None else str(LogPosition(reached.epoch, row["position"]))
    return Answer(CommandView(**{**row, "position": position}), reached.head, reached.epoch)
