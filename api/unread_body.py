"""Answers requests whose body nobody wants, so that a client that still sends it sees the answer."""

import asyncio
from contextlib import suppress

from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

DRAINED = 64_000_000
_SECONDS = 30.0


async def answer_unread(answer: Response, scope: Scope, receive: Receive, send: Send, max_bytes: int = DRAINED) -> None:
    """Send `answer` to a request of whose body nothing was received yet, once that is drained."""
    if Headers(scope=scope).get("expect", "").lower() == "100-continue":
        # The client waits, and to receive would be to ask for the body (RFC 9110, section 10.1.1). The connection ends
        # with the answer, for nobody knows whether the next bytes on it would be that body.
        answer.headers["Connection"] = "close"
    else:
        await drain(receive, max_bytes)
    await answer(scope, receive, send)


async def drain(receive: Receive, max_bytes: int) -> None:
    """Receive the rest of a body, up to `max_bytes` of it and for half a minute at the most.

    To close the connection on a client that still sends would break it before the answer is read.
    """
    received = 0
    with suppress(TimeoutError):
        async with asyncio.timeout(_SECONDS):
            while received < max_bytes:
                message = await receive()
                if not message.get("more_body", False):
                    return
                received += len(message.get("body", b""))
