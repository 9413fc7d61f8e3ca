"""Refuses bodies that are too long with a problem document, before they are parsed or kept."""

import re
from collections.abc import Sequence
from http import HTTPStatus

from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.problems import problem
from api.unread_body import DRAINED, answer_unread, drain


class BodyLimit:
    """Counts the bytes of every body, whatever its length header says."""

    def __init__(self, app: ASGIApp, *, usual: int, others: Sequence[tuple[re.Pattern[str], int]]) -> None:
        """Take the usual limit, and those of the paths that match a pattern."""
        self._app = app
        self._usual = usual
        self._others = others

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        declared = headers.get(b"content-length")
        if declared in {None, b"0"} and b"transfer-encoding" not in headers:
            await self._app(scope, receive, send)
            return
        limit = self._limit(scope["path"])
        if declared is not None and declared.isdigit() and int(declared) > limit:
            await answer_unread(_too_large(limit), scope, receive, send, limit + DRAINED)
            return
        limited = _Limited(receive, send, limit, is_asking=headers.get(b"expect", b"").lower() == b"100-continue")
        try:
            await self._app(scope, limited.receive, limited.send)
        except ClientDisconnect:
            if not limited.is_exceeded:
                return  # the client is gone: nobody is left to answer
        if limited.is_exceeded and not limited.has_started:
            await limited.drain()
            await _too_large(limit)(scope, receive, send)

    def _limit(self, path: str) -> int:
        return next((limit for pattern, limit in self._others if pattern.fullmatch(path)), self._usual)


def _too_large(limit: int) -> Response:
    return problem(
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "body-too-large", f"The body may have {limit} bytes at the most."
    )


class _Limited:
    """The two channels of one request, cut off when its body is too long."""

    def __init__(self, receive: Receive, send: Send, limit: int, *, is_asking: bool) -> None:
        """Take the channels, the limit in bytes, and whether the client asks before it sends a body."""
        self._is_asking = is_asking
        self._receive = receive
        self._send = send
        self._limit = limit
        self._received = 0
        self._is_whole = False
        self.is_exceeded = False
        self.has_started = False

    async def receive(self) -> Message:
        if self.is_exceeded:
            return {"type": "http.disconnect"}
        message = await self._receive()
        if message["type"] == "http.request":
            self._note(message)
            if self._received > self._limit:
                self.is_exceeded = True
                return {"type": "http.disconnect"}
        return message

    async def send(self, message: Message) -> None:
        """Pass on what the application answers, unless it answers to a body that was cut off."""
        if self.is_exceeded and not self.has_started:
            return
        self.has_started = True
        if self._is_whole:
            await self._send(message)
        elif self._is_asking and not self._received:
            await self._send_without_asking(message)
        else:
            await self._send_and_drain(message)

    async def _send_without_asking(self, message: Message) -> None:
        """Answer and close: nobody knows whether the next bytes on the connection would be the body."""
        if message["type"] == "http.response.start":
            message = {**message, "headers": [*message["headers"], (b"connection", b"close")]}
        await self._send(message)

    async def _send_and_drain(self, message: Message) -> None:
        """Answer at once, and receive the rest before the end: a client that still sends would not read the answer."""
        if message["type"] != "http.response.body" or message.get("more_body", False):
            await self._send(message)
            return
        await self._send({**message, "more_body": True})
        await self.drain()
        await self._send({"type": "http.response.body"})

    async def drain(self) -> None:
        """Receive what is left of the body, up to a bound."""
        if not self._is_whole:
            await drain(self._receive, DRAINED)

    def _note(self, message: Message) -> None:
        self._received += len(message.get("body", b""))
        self._is_whole = not message.get("more_body", False)
