"""Answers of queries: sent as the bytes that they were encoded to, and again as long as they are good."""

from collections import OrderedDict
from typing import Annotated, Final

from fastapi import Depends, Header, Request, Response
from fastapi.security import HTTPAuthorizationCredentials
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from api.authentication import actor_of
from api.requests import bearer
from api.services import Services
from domain.shared.access import Actor
from queries.answers import EncodedAnswer
from queries.cache import AnswerCache, key_of
from queries.message import Query

MIN_POSITION = "X-Min-Position"
_MOST_REQUESTS: Final = 50_000

RequestKey = tuple[str, str, frozenset[str], str, bytes]


class KnownRequests:
    """Which question a request was found to ask, by who sent it and its URL: nothing else makes a difference.

    Only requests that were answered are noted, so whoever repeats one may ask it.
    """

    def __init__(self) -> None:
        self._keys: OrderedDict[RequestKey, str] = OrderedDict()

    def get(self, scope: Scope, actor: Actor) -> str | None:
        """Return the `key_of` the question."""
        return self._keys.get(_request(scope, actor))

    def note(self, scope: Scope, actor: Actor, query: Query) -> None:
        """Note what a request that was answered has asked."""
        if query.may_be_kept():
            self._keys[_request(scope, actor)] = key_of(query, actor)
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
            if key is not None and actor is not None:
                min_position = Headers(scope=scope).get(MIN_POSITION)
                answer = self._cache.kept(actor.tenant, key, min_position)
                if answer is not None:
                    await send({"type": "http.response.start", "status": 200, "headers": _headers(answer)})
                    await send({"type": "http.response.body", "body": answer.body})
                    return
        await self._app(scope, receive, send)


class Asker:
    """Asks for whom a request speaks, and answers it."""

    def __init__(self, request: Request, min_position: str | None) -> None:
        self._request = request
        self._min_position = min_position

    async def answer(self, query: Query) -> Response:
        """Return the answer to `query`, with the position that it reflects and what is missing of it."""
        state, actor = self._request.app.state, actor_of(self._request)
        services: Services = state.services
        requests: KnownRequests = state.known_requests
        encoded = await services.queries.answer(query, actor, self._min_position)
        requests.note(self._request.scope, actor, query)
        response = Response(encoded.body)
        response.raw_headers = _headers(encoded)
        return response


async def asker(
    request: Request,
    _: Annotated[HTTPAuthorizationCredentials | None, Depends(bearer)],
    min_position: Annotated[
        str | None, Header(alias=MIN_POSITION, description="Wait, bounded, until the answer reflects this position.")
    ] = None,
) -> Asker:
    """Return who asks for the request; that it is not a class keeps FastAPI from making it in a thread."""
    return Asker(request, min_position)


AskerOf = Annotated[Asker, Depends(asker)]


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
