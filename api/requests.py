"""What every route takes from a request: who asks, which key and version it names, which position it wants to see."""

import hashlib
import re
from http import HTTPStatus
from typing import Annotated
from uuid import UUID

from fastapi import Depends, Header, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from api.authentication import actor_of
from api.problems import ProblemError
from api.services import Services
from commands.message import CommandRequest, RequestKey
from domain.shared.access import Actor

_ETAG = re.compile(r'(W/)?"([0-9]{1,9})"')
_NO_VERSION = -1  # that no aggregate ever has
_KEY = re.compile(r"[\x21-\x7e]{1,200}")

bearer = HTTPBearer(auto_error=False, description="A token from `varve token create`.")


async def services(request: Request) -> Services:
    """Return what the application was created with."""
    found: Services = request.app.state.services
    return found


ServicesOf = Annotated[Services, Depends(services)]


async def authenticated(request: Request, _: Annotated[HTTPAuthorizationCredentials | None, Depends(bearer)]) -> Actor:
    """Return whom the bearer token speaks for: it was verified before the body was received.

    `bearer` only tells readers of the OpenAPI document that a token is needed.
    """
    return actor_of(request)


ActorOf = Annotated[Actor, Depends(authenticated)]
MinPosition = Annotated[
    str | None, Header(alias="X-Min-Position", description="Wait, bounded, until the answer reflects this position.")
]

AsOf = Annotated[
    UUID | None,
    Header(alias="X-As-Of", description="For audits: answer from the read models built as of a past position."),
]


async def command_request(
    request: Request,
    actor: ActorOf,
    given: ServicesOf,
    if_match: Annotated[str | None, Header(description="The version that you have seen, as its ETag.")] = None,
    idempotency_key: Annotated[
        str | None, Header(description="Makes the command safe to send again: it takes effect once.")
    ] = None,
) -> CommandRequest:
    """Return what the command is sent with; the body is part of what a repeated key must repeat."""
    return await build_command_request(request, actor, given, if_match, idempotency_key, await request.body())


CommandRequestOf = Annotated[CommandRequest, Depends(command_request)]


async def build_command_request(
    request: Request, actor: Actor, given: Services, if_match: str | None, idempotency_key: str | None, content: bytes
) -> CommandRequest:
    """Return what a command with the body `content`, or the hash of one, is sent with."""
    require_key(idempotency_key)
    key = None
    if idempotency_key is not None:
        parts = (request.method, request.url.path, request.url.query, if_match or "")
        digest = hashlib.sha256("\n".join(parts).encode() + b"\n" + content).digest()
        key = RequestKey(idempotency_key, digest)
    correlation_id: UUID = request.state.correlation_id
    return CommandRequest(
        actor=actor,
        command_id=given.ids.new(),
        correlation_id=correlation_id,
        key=key,
        expected_version=_version(if_match),
    )


def require_key(idempotency_key: str | None) -> None:
    """Refuse a key that can't be stored."""
    if idempotency_key is not None and not _KEY.fullmatch(idempotency_key):
        raise ProblemError(
            HTTPStatus.BAD_REQUEST,
            "invalid-idempotency-key",
            "Idempotency-Key must be 1 to 200 visible ASCII characters.",
        )


def _version(if_match: str | None) -> int | None:
    if if_match is None or if_match == "*":
        return None
    match = _ETAG.fullmatch(if_match.strip())
    if match is None:
        raise ProblemError(
            HTTPStatus.BAD_REQUEST, "invalid-if-match", 'If-Match must be one version as its ETag, such as "3", or *.'
        )
    # If-Match compares strongly, so a weak tag matches nothing (RFC 9110, section 13.1.1). The command finds that out,
    # because whatever else refuses it comes before a precondition (section 13.2.1).
    return _NO_VERSION if match[1] else int(match[2])
