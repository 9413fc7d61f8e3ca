"""Answers of queries: sent as the bytes that they were encoded to, and again as long as they are good."""

from collections import OrderedDict
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
from domain.shared.access import Actor
from queries.answers import EncodedAnswer
from queries.cache import AnswerCache, Asked, Key
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
_MOST_REQUESTS: Final = 50_000

RequestKey = tuple[str, str, frozenset[str], str, bytes]


class KnownRequests:
    """Which question a request was found to ask, by who sent it and its URL: nothing else makes a difference.

    Only requests that were answered are noted, so whoever repeats one may ask it.
    """

    def __init__(self) -> None:
        self._keys: OrderedDict[RequestKey, Key] = OrderedDict()

    def get(self, scope: Scope, actor: Actor) -> Key | None:
        """Return the key of the question."""
        return self._keys.get(_request(scope, actor))

    def note(self, scope: Scope, asked: Asked) -> None:
        """Note what a request that was answered has asked."""
        if asked.as_of is None and asked.query.may_be_kept():
            self._keys[_request(scope, asked.actor)] = asked.key
            if len(self._keys) > _MOST_REQUESTS:
                self._keys.popitem(last=False)


class KeptAnswers:
    """Answers a repeated question before it is routed and parsed, when this process still has a good answer to it."""

    def __init__(self, app: ASGIApp, *, requests: KnownRequests, cache: AnswerCache) -> None:
        self._app = app
        self._requests = requests
        self._cache = cache

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["method"] == "GET":
            actor: Actor | None = scope.get("state", {}).get("actor")
            key = None if actor is None else self._requests.get(scope, actor)
            headers = Headers(scope=scope)
            if key is not None and AS_OF not in headers:
                answer = self._cache.kept(key, headers.get(MIN_POSITION))
                if answer is not None:
                    await send({"type": "http.response.start", "status": 200, "headers": _headers(answer)})
                    await send({"type": "http.response.body", "body": answer.body})
                    return
        await self._app(scope, receive, send)


async def answer_query(query: Query, request: Request) -> Response:
    """Ask `query` for whom the request speaks; answer with the position that it reflects and what is missing of it.

    What it takes from the request is not declared to FastAPI as dependencies, which would take as long as a read:
    `ASKED` says it in the OpenAPI document.
    """
    services: Services = request.app.state.services
    requests: KnownRequests = request.app.state.known_requests
    asked = Asked(query, actor_of(request), request.headers.get(MIN_POSITION), _as_of(request))
    encoded = await services.queries.answer(asked)
    requests.note(request.scope, asked)
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


def _request(scope: Scope, actor: Actor) -> RequestKey:
    return actor.tenant, actor.user, actor.roles, scope["path"], scope["query_string"]
