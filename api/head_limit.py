"""Refuses requests with a long URL, many query parameters or long headers, which all are read before a body is."""

from http import HTTPStatus
from typing import Final

from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from api.problems import problem
from api.unread_body import answer_unread

MOST_URL_BYTES: Final = 32_000
"""A question of 1,000 characters takes 12,000 when each is an emoji."""
MOST_PARAMETERS: Final = 64
MOST_HEADERS: Final = 100
MOST_HEADER_BYTES: Final = 32_000


class HeadLimit:
    """Counts what comes before the body."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        refusal = _refusal(scope) if scope["type"] == "http" else None
        if refusal is None:
            await self._app(scope, receive, send)
        else:
            await answer_unread(refusal, scope, receive, send)


def _refusal(scope: Scope) -> Response | None:
    query: bytes = scope["query_string"]
    if len(scope["path"]) + len(query) > MOST_URL_BYTES:
        detail = f"Path and query may have {MOST_URL_BYTES} bytes at the most."
        return problem(HTTPStatus.REQUEST_URI_TOO_LONG, "url-too-long", detail)
    if query.count(b"&") >= MOST_PARAMETERS:
        detail = f"A request may have {MOST_PARAMETERS} query parameters at the most."
        return problem(HTTPStatus.BAD_REQUEST, "too-many-parameters", detail)
    headers: list[tuple[bytes, bytes]] = scope["headers"]
    if len(headers) > MOST_HEADERS or sum([len(value) for _, value in headers]) > MOST_HEADER_BYTES:
        detail = f"A request may have {MOST_HEADERS} headers and {MOST_HEADER_BYTES} bytes in them at the most."
        return problem(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, "headers-too-large", detail)
    return None
