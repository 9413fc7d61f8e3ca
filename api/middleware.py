"""What every HTTP request passes through: a span, bound log context, one log line."""

import random
import time
from contextlib import suppress
from uuid import UUID

import structlog
from opentelemetry import propagate, trace
from starlette.types import ASGIApp, Message, Receive, Scope, Send

log = structlog.get_logger()
tracer = trace.get_tracer("varve.api")

_SERVER_ERROR = 500
_LOGGED_PATH = 200  # characters; the longest path of ours has fewer
_CORRELATION = "x-correlation-id"


class RequestContext:
    """Continues the caller's trace and correlation, and answers both in headers."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        # Most requests have none of these, and a few microseconds for each header are more than a kept answer has.
        self._read = frozenset(name.encode() for name in (_CORRELATION, *propagate.get_global_textmap().fields))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = {
            name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"] if name in self._read
        }
        correlation_id = _correlation(headers.get(_CORRELATION))
        correlation = str(correlation_id)
        scope.setdefault("state", {})["correlation_id"] = correlation_id
        started = time.perf_counter()
        status = _SERVER_ERROR

        async def send_with_context(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message["headers"], (_CORRELATION.encode(), correlation.encode())]
            await send(message)

        structlog.contextvars.clear_contextvars()
        structlog.contextvars.bind_contextvars(correlation_id=correlation)
        context = propagate.extract(headers) if headers else None
        with tracer.start_as_current_span("http.request", context=context, kind=trace.SpanKind.SERVER) as span:
            span.set_attribute("http.request.method", scope["method"])
            span.set_attribute("url.path", scope["path"][:_LOGGED_PATH])
            try:
                await self._app(scope, receive, send_with_context)
            finally:
                span.set_attribute("http.response.status_code", status)
                log.info(
                    "http.request",
                    method=scope["method"],
                    path=scope["path"][:_LOGGED_PATH],
                    status=status,
                    duration_ms=round((time.perf_counter() - started) * 1000, 2),
                )


def _correlation(header: str | None) -> UUID:
    """Return the caller's id or a new one, made without a system call: it has to be another one, not a secret."""
    if header is not None:
        with suppress(ValueError):
            return UUID(header)
    return UUID(int=random.getrandbits(128), version=4)
