"""The routes of the API: each names the command that it sends, and refuses whom it must before it receives a body."""

from collections.abc import Callable, Coroutine
from contextlib import nullcontext
from http import HTTPStatus
from typing import Any, Final, TypeVar
from uuid import UUID

from fastapi import Request, Response
from fastapi.params import Form
from fastapi.routing import APIRoute
from pydantic import BaseModel
from starlette.routing import BaseRoute

from api.authentication import actor_of
from api.bodies import BodyCheck, CheckedRequest
from api.problems import ProblemError
from api.services import Services
from api.slots import Slots
from commands.message import Command, CommandRequest

E = TypeVar("E", bound=Callable[..., Any])

LARGE_BYTES: Final = 256 * 1024
"""The longest body of most routes; the few that take longer ones do so for a few requests of a tenant at a time."""
LARGE_AT_ONCE: Final = 2
_CHANGING = frozenset({"POST", "PUT", "PATCH", "DELETE"})
_COMMAND = "varve_command"
_LONGEST_NAME = 100
_LONGEST_MEDIA_TYPE = 500


class NoCommandError(TypeError):
    """A route that changes something names no command, so that nobody can be refused before the body is received."""

    def __init__(self, path: str) -> None:
        super().__init__(
            f"{path}: write @sends(TheCommand) above its function, and give its router route_class=ApiRoute"
        )


def sends(command: type[Command]) -> Callable[[E], E]:
    """Name the command that a route sends: its permission is wanted before the body."""

    def noted(endpoint: E) -> E:
        setattr(endpoint, _COMMAND, command)
        return endpoint

    return noted


class ApiRoute(APIRoute):
    """Refuses actors without the permission of its command, and checks bodies in slices."""

    @property
    def command(self) -> type[Command] | None:
        """The command that it sends; None for a query."""
        return getattr(self.endpoint, _COMMAND, None)

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()
        command = self.command
        if command is None:
            return handle
        model = self._body_model()
        check = None if model is None else BodyCheck(model)
        is_form = self._is_form()

        async def guarded(request: Request) -> Response:
            await _require_permission(request, command)
            if is_form:
                _require_multipart(request)
            if check is None:
                return await handle(request)
            slots: Slots = request.app.state.large_bodies
            async with slots.taken(actor_of(request).tenant) if _is_large(request) else nullcontext():
                checked = CheckedRequest(request.scope, request.receive)
                await check.check(checked)
                return await handle(checked)

        return guarded

    def _is_form(self) -> bool:
        return self.body_field is not None and isinstance(self.body_field.field_info, Form)

    def _body_model(self) -> type[BaseModel] | None:
        """Return the model of its JSON body, None when it has none or takes a form."""
        field = self.body_field
        if field is None or self._is_form():
            return None
        model = field.field_info.annotation
        if not isinstance(model, type) or not issubclass(model, BaseModel):
            raise TypeError(f"{self.path}: a body is one pydantic model")
        return model


def require_commands(routes: list[BaseRoute]) -> None:
    """Refuse routes that change something and name no command.

    Raises:
        NoCommandError: one does.
    """
    for route in routes:
        is_changing = isinstance(route, APIRoute) and not _CHANGING.isdisjoint(route.methods or ())
        if is_changing and not (isinstance(route, ApiRoute) and route.command is not None):
            raise NoCommandError(getattr(route, "path", ""))


def _require_multipart(request: Request) -> None:
    """Refuse forms of other kinds, whose parsers know no limits, and parameters that take long to take apart."""
    media_type = request.headers.get("content-type", "")
    if not media_type.lower().startswith("multipart/form-data") or len(media_type) > _LONGEST_MEDIA_TYPE:
        raise ProblemError(
            HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "unsupported-media-type", "Send the form as multipart/form-data."
        )


async def _require_permission(request: Request, command: type[Command]) -> None:
    actor = actor_of(request)
    if actor.may(command.PERMISSION):
        return
    services: Services = request.app.state.services
    sent = CommandRequest(actor=actor, command_id=services.ids.new(), correlation_id=request.state.correlation_id)
    await services.commands.refuse_unread(command, sent, _named_aggregate(request))


def _named_aggregate(request: Request) -> str | None:
    """Return the name or id in the request's path, if it can be one."""
    name = next(iter(request.path_params.values()), None)
    if name is None or len(name) > _LONGEST_NAME or not name.isprintable():
        return None
    try:
        return str(UUID(name))
    except ValueError:
        return str(name)


def _is_large(request: Request) -> bool:
    """Whether the body is long, or may be."""
    length = request.headers.get("content-length")
    if length is None:
        return "transfer-encoding" in request.headers
    return not length.isdecimal() or int(length) > LARGE_BYTES
