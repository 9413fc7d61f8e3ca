"""Answers of queries: sent as the bytes that they were encoded to, and again as long as they are good."""

from collections import OrderedDict
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Any, Final
from uuid import UUID

from fastapi import Request, Response
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from api.authentication import actor_of
from api.problems import ProblemError
from api.requests import bearer
from api.services import Services
from queries.answers import EncodedAnswer
from queries.bus import QueryBus
from queries.cache import Asked
from queries.message import Query

MIN_POSITION = "X-Min-Position"
AS_OF = "X-As-Of"
ASKED: Final[dict[str, Any]] = {
    "security": [{bearer.scheme_name: []}],
    "parameters": [
        {
            "name": MIN_POSITION,
            "in": "header",
            "required": False,
            "schema": {"type": "string"},
            "description": "Wait, bounded, until the answer reflects this position.",
        },
        {
            "name": AS_OF,
            "in": "header",
            "required": False,
            "schema": {"type": "string", "format": "uuid"},
            "description": "For audits: answer from the read models built as of a past position.",
        },
    ],
}
"""What every query takes besides its parameters, for the OpenAPI document."""
_MOST_URLS: Final = 50_000
_LONGEST_URL: Final = 500
"""Longer ones are parsed each time: all that are known together stay small."""
_ACTOR, _FAILURE = "actor", "failure"
"""Of a request's state: for whom it speaks, and what its question was refused with before it came to its route."""


class KnownQuestions:
    """Which question a URL asks: its path and query string say all of it, whoever asks.

    What asks for one thing by its id is known at sight; of other URLs those that were answered are noted.
    """

    def __init__(self, by_id: Mapping[str, Callable[[UUID], Query]]) -> None:
        """Take the paths under which an id alone, as it is usually written, asks for what it names."""
        self._by_id = by_id
        self._queries: OrderedDict[tuple[str, bytes], Query] = OrderedDict()

    def get(self, scope: Scope) -> Query | None:
        """Return the question of a request, if it is known."""
        return self._asked_by_id(scope) or self._queries.get((scope["path"], scope["query_string"]))

    def _asked_by_id(self, scope: Scope) -> Query | None:
        folder, _, name = scope["path"].rpartition("/")
        if folder not in self._by_id or scope["query_string"]:
            return None
        try:
            wanted = UUID(name)
        except ValueError:
            return None  # its route says what is wrong with it
        return self._by_id[folder](wanted) if str(wanted) == name else None

    def note(self, scope: Scope, query: Query) -> None:
        """Note what a request that was answered has asked."""
        length = len(scope["path"]) + len(scope["query_string"])
        if length <= _LONGEST_URL and query.may_be_kept() and self._asked_by_id(scope) is None:
            self._queries[scope["path"], scope["query_string"]] = query
            if len(self._queries) > _MOST_URLS:
                self._queries.popitem(last=False)


class QuickAnswers:
    """Answers questions whose URL is known before they are routed and parsed, which takes as long as a short read.

    What this process has a good answer to is answered at once. What can't be answered goes on to its route, which
    raises what was raised here: there it becomes a problem document.
    """

    def __init__(self, app: ASGIApp, *, known: KnownQuestions, queries: QueryBus) -> None:
        self._app = app
        self._known = known
        self._queries = queries

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        query = self._known.get(scope) if scope["type"] == "http" and scope["method"] == "GET" else None
        headers = Headers(scope=scope)
        if query is None or AS_OF in headers or _ACTOR not in scope.get("state", {}):
            await self._app(scope, receive, send)
            return
        asked = Asked(query, scope["state"][_ACTOR], headers.get(MIN_POSITION))
        try:
            answer = await self._queries.answer(asked)
        except Exception as error:  # noqa: BLE001 - whatever it is, the route's handlers know what to make of it
            scope["state"][_FAILURE] = error
            await self._app(scope, receive, send)
            return
        await send({"type": "http.response.start", "status": HTTPStatus.OK, "headers": _headers(answer)})
        await send({"type": "http.response.body", "body": answer.body})


async def answer_query(query: Query, request: Request) -> Response:
    """Ask `query` for whom the request speaks; answer with the position that it reflects and what is missing of it.

    What it takes from the request is not declared to FastAPI as dependencies, which would take as long as a read:
    `ASKED` says it in the OpenAPI document.
    """
    failure: Exception | None = getattr(request.state, _FAILURE, None)
    if failure is not None:
        raise failure
    services: Services = request.app.state.services
    known: KnownQuestions = request.app.state.known_questions
    asked = Asked(query, actor_of(request), request.headers.get(MIN_POSITION), _as_of(request))
    encoded = await services.queries.answer(asked)
    if asked.as_of is None:
        known.note(request.scope, query)
    response = Response(encoded.body)
    response.raw_headers = _headers(encoded)
    return response


def _as_of(request: Request) -> UUID | None:
    given = request.headers.get(AS_OF)
    try:
        return None if given is None else UUID(given)
    except ValueError as error:
        raise ProblemError(
            HTTPStatus.BAD_REQUEST, "invalid-as-of", f"{AS_OF} must be an id that `varve projections as-of list` shows."
        ) from error


def _headers(answer: EncodedAnswer) -> list[tuple[bytes, bytes]]:
    headers = [
        (b"content-length", str(len(answer.body)).encode()),
        (b"content-type", b"application/json"),
        (b"x-position", answer.position.encode()),
    ]
    if answer.parked:
        headers.append((b"x-parked", str(answer.parked).encode()))
    if answer.version is not None:
        headers.append((b"etag", f'"{answer.version}"'.encode()))
    return headers
