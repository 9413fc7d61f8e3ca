"""Lets nobody in without a valid bearer token, before any of the body is received."""

from http import HTTPStatus

import structlog
from fastapi import Request
from fastapi.responses import JSONResponse
from fastapi.security.utils import get_authorization_scheme_param
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from api.problems import problem
from api.tokens import InvalidTokenError, TokenVerifier
from api.unread_body import answer_unread
from domain.shared.access import Actor

_NO_TOKEN = "Send a bearer token: Authorization: Bearer …"  # noqa: S105 - a sentence


class Authentication:
    """Verifies the token of every request to `prefix` and what is under it, and notes whom it speaks for."""

    def __init__(self, app: ASGIApp, *, tokens: TokenVerifier, prefix: str) -> None:
        self._app = app
        self._tokens = tokens
        self._prefix = prefix

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not f"{scope['path']}/".startswith(f"{self._prefix}/"):
            await self._app(scope, receive, send)
            return
        scheme, token = get_authorization_scheme_param(Headers(scope=scope).get("authorization"))
        if scheme.lower() != "bearer" or not token:
            await answer_unread(_unauthorized(_NO_TOKEN), scope, receive, send)
            return
        try:
            actor = self._tokens.verify(token)
        except InvalidTokenError as error:
            await answer_unread(_unauthorized(f"{error}."), scope, receive, send)
            return
        structlog.contextvars.bind_contextvars(tenant=actor.tenant, user=actor.user)
        scope.setdefault("state", {})["actor"] = actor
        await self._app(scope, receive, send)


def actor_of(request: Request) -> Actor:
    """Return whom the token of a request speaks for; a route that is not behind `Authentication` has nobody."""
    actor: Actor = request.state.actor
    return actor


def _unauthorized(detail: str) -> JSONResponse:
    return problem(HTTPStatus.UNAUTHORIZED, "unauthorized", detail, {"WWW-Authenticate": "Bearer"})
