"""Every error as an RFC 9457 problem document with a stable `type`."""

import json
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from http import HTTPStatus
from typing import Any, Final

import structlog
from fastapi import FastAPI, Request
from fastapi.encoders import jsonable_encoder
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from commands.errors import ConcurrentChange, IdempotencyKeyReused, RememberedRefusal, VersionMismatch
from domain.knowledge import errors as knowledge
from domain.operations import errors as operations
from domain.shared.access import PermissionDenied
from domain.shared.errors import DomainError
from eventstore.errors import (
    AppenderBusy,
    EventStoreError,
    ForeignEpoch,
    HistoryChanged,
    InvalidAppend,
    InvalidPosition,
    QuestionTookTooLong,
    ReadersBusy,
    ReadModelHeld,
    StorageRefused,
    StoreUnavailable,
    UnknownEventType,
    UnknownEventVersion,
)
from eventstore.fault_log import FAULTS
from eventstore.faults import DependencyError
from queries.errors import (
    AsOfNotFound,
    CommandNotFound,
    InvalidCursor,
    PositionInTheFuture,
    PositionNotReached,
    RequestNotFound,
)

log = structlog.get_logger()

MOST_ERRORS: Final = 20
"""Of those that an invalid request has, the problem document lists these."""
_MOST_ERROR_BYTES = 12_000
_LONGEST_TEXT = 500
_LONGEST_MESSAGE = 300
_LONGEST_NAME = 100
_MOST_PARTS = 12

STATUSES: dict[type[DomainError] | type[EventStoreError], HTTPStatus] = {
    knowledge.EntryNotFound: HTTPStatus.NOT_FOUND,
    knowledge.EntryIsDeleted: HTTPStatus.CONFLICT,
    knowledge.EntryIsNotDeleted: HTTPStatus.CONFLICT,
    knowledge.EntryCannotLinkToItself: HTTPStatus.UNPROCESSABLE_ENTITY,
    knowledge.EntryHasTooManyLinks: HTTPStatus.CONFLICT,
    knowledge.LinkNotFound: HTTPStatus.NOT_FOUND,
    knowledge.DocumentNotFound: HTTPStatus.NOT_FOUND,
    knowledge.DocumentIsEmpty: HTTPStatus.UNPROCESSABLE_ENTITY,
    knowledge.DocumentTooLarge: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    knowledge.DocumentAlreadyUploaded: HTTPStatus.CONFLICT,
    knowledge.DocumentIsDeleted: HTTPStatus.CONFLICT,
    knowledge.DocumentIsBeingProcessed: HTTPStatus.CONFLICT,
    knowledge.ProcessingAttemptIsOver: HTTPStatus.CONFLICT,
    operations.ProjectionNotFound: HTTPStatus.NOT_FOUND,
    operations.RebuildIsRunning: HTTPStatus.CONFLICT,
    operations.NoRebuildRunning: HTTPStatus.CONFLICT,
    operations.RebuildIsNotHeld: HTTPStatus.CONFLICT,
    operations.NothingToRollBackTo: HTTPStatus.CONFLICT,
    operations.GenerationNotThere: HTTPStatus.CONFLICT,
    operations.AlreadyPaused: HTTPStatus.CONFLICT,
    operations.NothingIsPaused: HTTPStatus.CONFLICT,
    operations.NothingIsParked: HTTPStatus.CONFLICT,
    operations.EventIsNotParked: HTTPStatus.CONFLICT,
    operations.EventIsSkippedAlready: HTTPStatus.CONFLICT,
    operations.TenantHasNoEvents: HTTPStatus.CONFLICT,
    operations.AsOfNotThere: HTTPStatus.CONFLICT,
    operations.AsOfOutsideTheLog: HTTPStatus.CONFLICT,
    AsOfNotFound: HTTPStatus.NOT_FOUND,
    CommandNotFound: HTTPStatus.NOT_FOUND,
    RequestNotFound: HTTPStatus.NOT_FOUND,
    PermissionDenied: HTTPStatus.FORBIDDEN,
    VersionMismatch: HTTPStatus.PRECONDITION_FAILED,
    ConcurrentChange: HTTPStatus.CONFLICT,
    IdempotencyKeyReused: HTTPStatus.UNPROCESSABLE_ENTITY,
    PositionNotReached: HTTPStatus.GATEWAY_TIMEOUT,
    PositionInTheFuture: HTTPStatus.BAD_REQUEST,
    InvalidCursor: HTTPStatus.BAD_REQUEST,
    InvalidPosition: HTTPStatus.BAD_REQUEST,
    ForeignEpoch: HTTPStatus.GONE,
    StoreUnavailable: HTTPStatus.SERVICE_UNAVAILABLE,
    UnknownEventType: HTTPStatus.SERVICE_UNAVAILABLE,
    UnknownEventVersion: HTTPStatus.SERVICE_UNAVAILABLE,
    AppenderBusy: HTTPStatus.SERVICE_UNAVAILABLE,
    HistoryChanged: HTTPStatus.SERVICE_UNAVAILABLE,
    StorageRefused: HTTPStatus.SERVICE_UNAVAILABLE,
    ReadModelHeld: HTTPStatus.SERVICE_UNAVAILABLE,
    QuestionTookTooLong: HTTPStatus.SERVICE_UNAVAILABLE,
    ReadersBusy: HTTPStatus.SERVICE_UNAVAILABLE,
    InvalidAppend: HTTPStatus.UNPROCESSABLE_ENTITY,
}
"""The one table from refusals to statuses."""

_BY_CODE = {error.__name__: status for error, status in STATUSES.items()}
_RETRY_SECONDS = "1"
_MENDING_SECONDS = "10"
_NEWER_CODE = (
    "Another version of Varve wrote an event of it, and this process can't read it. Try again; if that goes on, "
    "no version that reads it runs, and an operator can void the event."
)
_UNAVAILABLE: dict[type[EventStoreError], str] = {
    StoreUnavailable: "The database can't be reached. Send the same request with the same Idempotency-Key again.",
    UnknownEventType: _NEWER_CODE,
    UnknownEventVersion: _NEWER_CODE,
    AppenderBusy: "Too many commands are waiting. Nothing of this one was stored; send it again.",
    StorageRefused: "The database can't store anything until an operator has mended it. Nothing of it was stored.",
    ReadModelHeld: "A migration or a rebuild holds what this reads. Ask again in a moment.",
    QuestionTookTooLong: "It took longer than a question may. Ask for less, or again in a while.",
    ReadersBusy: "Too many questions like it are being answered. Ask again in a moment.",
    HistoryChanged: "The database was replaced while the command waited. Nothing of it was stored; send it again.",
}


class ProblemError(Exception):
    """A problem of the HTTP layer itself, such as a missing header."""

    def __init__(self, status: HTTPStatus, code: str, detail: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(detail)
        self.status = status
        self.code = code
        self.detail = detail
        self.headers = headers


def problem(
    status: HTTPStatus | int,
    code: str,
    detail: str,
    headers: Mapping[str, str] | None = None,
    members: Mapping[str, Any] | None = None,
) -> JSONResponse:
    """Return a problem document; `code` makes its type, which clients may rely on."""
    status = HTTPStatus(status)
    content = {
        "type": f"urn:varve:problem:{code}",
        "title": status.phrase,
        "status": status.value,
        "detail": shortened(detail, _LONGEST_TEXT),
        **{
            name: shortened(value, _LONGEST_TEXT) if isinstance(value, str) else value
            for name, value in (members or {}).items()
        },
    }
    return JSONResponse(
        jsonable_encoder(content),
        status.value,
        headers=headers and dict(headers),
        media_type="application/problem+json",
    )


def kebab(name: str) -> str:
    """Return a class's name as a problem's code: ``EntryNotFound`` is ``entry-not-found``."""
    return "".join(f"-{letter.lower()}" if letter.isupper() else letter for letter in name).lstrip("-")


def add_problem_handlers(app: FastAPI) -> None:
    """Answer every error of `app` with a problem document, routing errors and bugs included."""
    for error, answer in _HANDLERS.items():
        app.add_exception_handler(error, answer)


async def _refused(_: Request, error: Any) -> JSONResponse:
    return problem(STATUSES[type(error)], kebab(type(error).__name__), error.detail(), members=error.data())


async def _refused_again(_: Request, error: Any) -> JSONResponse:
    return problem(_BY_CODE[error.code], kebab(error.code), str(error), members=error.data)


async def _store_failed(_: Request, error: Any) -> JSONResponse:
    status = STATUSES.get(type(error), HTTPStatus.INTERNAL_SERVER_ERROR)
    if status is HTTPStatus.SERVICE_UNAVAILABLE:
        FAULTS.note("request.unavailable", error)
        headers = {"Retry-After": str(getattr(error, "retry_after_seconds", _RETRY_SECONDS))}
        members = None
        if isinstance(error, UnknownEventType):
            members = {"topic": error.topic, "class_version": error.class_version, "version": error.version}
        return problem(status, kebab(type(error).__name__), _UNAVAILABLE[type(error)], headers, members)
    if status is HTTPStatus.INTERNAL_SERVER_ERROR:
        log.error("request.failed", exc_info=error)
    return problem(status, kebab(type(error).__name__), (type(error).__doc__ or "").strip())


async def _dependency_failed(_: Request, error: Any) -> JSONResponse:
    FAULTS.note("request.unavailable", error)
    detail = f"A service that this needs has failed ({error.fault.kind}). Nothing of it was stored; send it again."
    return problem(HTTPStatus.SERVICE_UNAVAILABLE, "dependency-failed", detail, {"Retry-After": _MENDING_SECONDS})


async def _position_gone(_: Request, error: Any) -> JSONResponse:
    members = {"token": error.token, "fork_position": error.fork_position}
    return problem(
        HTTPStatus.GONE,
        "foreign-epoch",
        "The position belongs to a history of the log that no longer exists: what lay after `fork_position` is lost.",
        members=members,
    )


async def _http_problem(_: Request, error: Any) -> JSONResponse:
    return problem(error.status, error.code, error.detail, error.headers)


async def _invalid(_: Request, error: Any) -> JSONResponse:
    return _invalid_request(error.errors())


async def _http_error(request: Request, error: Any) -> JSONResponse:
    headers = error.headers
    if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        headers = {"Allow": ", ".join(_allowed_methods(request))}
    return problem(error.status_code, kebab_status(error.status_code), str(error.detail), headers)


async def _bug(_: Request, error: Any) -> JSONResponse:
    log.error("request.failed", exc_info=error)
    return problem(
        HTTPStatus.INTERNAL_SERVER_ERROR, "internal-error", "Something went wrong here. It was logged; try again."
    )


_HANDLERS: dict[type[Exception], Callable[[Request, Any], Awaitable[JSONResponse]]] = {
    DomainError: _refused,
    RememberedRefusal: _refused_again,
    ForeignEpoch: _position_gone,
    EventStoreError: _store_failed,
    DependencyError: _dependency_failed,
    ProblemError: _http_problem,
    RequestValidationError: _invalid,
    HTTPException: _http_error,
    Exception: _bug,
}


def _allowed_methods(request: Request) -> list[str]:
    """Return the methods of every route that has the request's path; the router itself names the first one's only."""
    methods: set[str] = set()
    for template, methods_of in request.app.openapi()["paths"].items():
        if re.fullmatch(re.sub(r"\{[^}]+\}", "[^/]+", template), request.url.path):
            methods.update(method.upper() for method in methods_of)
    return sorted(methods)


def kebab_status(status: int) -> str:
    """Return the code of a problem that is nothing more than its status."""
    return HTTPStatus(status).phrase.lower().replace(" ", "-")


def _invalid_request(errors: Sequence[Mapping[str, Any]]) -> JSONResponse:
    shown = _shown(errors)
    more = len(errors) - len(shown)
    members = {"errors": shown} | ({"more_errors": more} if more else {})
    if any(error["type"] == "json_invalid" for error in errors):
        return problem(HTTPStatus.BAD_REQUEST, "malformed-json", "The body is not valid JSON.", members=members)
    detail = "The request is not valid; see `errors`" + (f", and {more:,} more." if more else ".")
    return problem(HTTPStatus.UNPROCESSABLE_ENTITY, "invalid-request", detail, members=members)


def _shown(errors: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return where and what is wrong, without the input itself: it may be long, and it may be secret."""
    shown: list[dict[str, Any]] = []
    left = _MOST_ERROR_BYTES
    for error in errors[:MOST_ERRORS]:
        each = {
            "location": [shortened(part, _LONGEST_NAME) for part in error["loc"][:_MOST_PARTS]],
            "message": shortened(error["msg"], _LONGEST_MESSAGE),
            "code": error["type"],
        }
        left -= len(json.dumps(each))  # with escapes, so rather more than the answer takes
        if left < 0:
            break
        shown.append(each)
    return shown


def shortened(value: Any, longest: int) -> Any:
    """Return a text cut to about `longest` characters, with its length; anything else as it is."""
    if not isinstance(value, str) or len(value) <= longest:
        return value
    return f"{value[:longest]}… ({len(value)} characters)"
