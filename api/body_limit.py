"""Refuses bodies that are too long with a problem document, before they are parsed or kept."""

from http import HTTPStatus

from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.problems import problem
from api.unread_body import DRAINED, answer_unread, drain


class BodyLimit:
    """Counts the bytes of every body, whatever its length header says."""

    def __init__(self, app: ASGIApp, *, usual: int, upload: int, upload_path: str) -> None:
        self._app = app
        self._usual = usual
        self._upload = upload
        self._upload_path = upload_path

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        limit = self._upload if scope["path"] == self._upload_path else self._usual
        declared = dict(scope["headers"]).get(b"content-length", b"0")
        if declared.isdigit() and int(declared) > limit:
            await answer_unread(_too_large(limit), scope, receive, send, limit + DRAINED)
            return
        limited = _Limited(receive, send, limit)
        try:
            await self._app(scope, limited.receive, limited.send)
        except ClientDisconnect:
            if not limited.is_exceeded:
                return  # the client is gone: nobody is left to answer
        if limited.is_exceeded and not limited.has_started:
            await limited.drain()
            await _too_large(limit)(scope, receive, send)


def _too_large(limit: int) -> Response:
    return problem(
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "body-too-large", f"The body may have {limit} bytes at the most."
    )


class _Limited:
    """The two channels of one request, cut off when its body is too long."""

    def __init__(self, receive: Receive, send: Send, limit: int) -> None:
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
        await self._send(message)

    async def drain(self) -> None:
        """Receive what is left of the body, up to a bound."""
        if not self._is_whole:
            await drain(self._receive, DRAINED)

    def _note(self, message: Message) -> None:
        self._received += len(message.get("body", b""))
        self._is_whole = not message.get("more_body", False)
