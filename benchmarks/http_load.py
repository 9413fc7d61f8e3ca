"""A load of HTTP requests that costs the machine little: a plain keep-alive client, and open and closed loops."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Self
from urllib.parse import urlsplit

from benchmarks.metrics import percentile

_READ_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Request:
    method: str
    path: str
    body: bytes = b""


@dataclass(frozen=True, slots=True)
class Reply:
    status: int
    body: bytes


@dataclass(frozen=True, slots=True)
class Load:
    """What a loop of requests came to; times in milliseconds, each from the first byte sent to the last received."""

    seconds: float
    milliseconds: Sequence[float]

    @property
    def per_second(self) -> float:
        return len(self.milliseconds) / self.seconds

    def at(self, percent: float) -> float:
        return percentile(self.milliseconds, percent)


class RequestFailed(Exception):
    """An answer was an error; the figures of the run would mean nothing."""


class Connection:
    """One keep-alive connection that sends one request at a time. httpx costs more than what it would measure here."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, head: str) -> None:
        self._reader = reader
        self._writer = writer
        self._head = head

    @classmethod
    async def open(cls, url: str, token: str | None = None, media_type: str = "application/json") -> Self:
        """Connect to the server at `url`, which speaks HTTP/1.1 with `Content-Length`."""
        address = urlsplit(url)
        reader, writer = await asyncio.open_connection(address.hostname, address.port, limit=_READ_BYTES)
        authorization = f"Authorization: Bearer {token}\r\n" if token else ""
        return cls(reader, writer, f"Host: {address.netloc}\r\n{authorization}Content-Type: {media_type}\r\n")

    async def send(self, request: Request, header: str = "") -> Reply:
        """Return the answer; `header` is a line more, with its CRLF.

        Raises:
            RequestFailed: its status is not a success.
        """
        start = f"{request.method} {request.path} HTTP/1.1\r\n{self._head}{header}Content-Length: {len(request.body)}"
        self._writer.write(start.encode() + b"\r\n\r\n" + request.body)
        lines = (await self._reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        headers = dict(line.lower().split(": ", 1) for line in lines[1:] if line)
        reply = Reply(int(lines[0].split(" ")[1]), await self._reader.readexactly(int(headers["content-length"])))
        if reply.status >= 300:
            raise RequestFailed(f"{request.method} {request.path}: {reply.status} {reply.body[:300]!r}")
        return reply

    @property
    def is_open(self) -> bool:
        """Whether the server has not closed it: after some idle seconds it does."""
        return not self._reader.at_eof()

    def close(self) -> None:
        self._writer.close()


async def closed_loop(
    open_connection: Callable[[], Awaitable[Connection]],
    make: Callable[[int], Request],
    *,
    concurrency: int,
    seconds: float,
    on_reply: Callable[[Reply], None] = lambda _: None,
) -> Load:
    """Keep `concurrency` connections busy: each sends its next request when the last one is answered.

    `make` is given the request's number; `on_reply` is called as soon as an answer is there.
    """
    connections = [await open_connection() for _ in range(concurrency)]
    milliseconds: list[float] = []
    count = 0
    started = time.perf_counter()

    async def work(connection: Connection) -> None:
        nonlocal count
        while time.perf_counter() - started < seconds:
            request = make(count)
            count += 1
            sent = time.perf_counter()
            reply = await connection.send(request)
            milliseconds.append((time.perf_counter() - sent) * 1000)
            on_reply(reply)

    try:
        await asyncio.gather(*(work(connection) for connection in connections))
        return Load(time.perf_counter() - started, milliseconds)
    finally:
        for connection in connections:
            connection.close()


async def open_loop(
    open_connection: Callable[[], Awaitable[Connection]],
    make: Callable[[int], Request],
    *,
    per_second: float,
    seconds: float,
    on_reply: Callable[[Reply], None],
) -> Load:
    """Send requests at the times of a fixed rate, whether or not the last ones are answered."""
    idle: list[Connection] = []
    milliseconds: list[float] = []
    started = time.perf_counter()

    async def one(number: int) -> None:
        while idle and not idle[-1].is_open:
            idle.pop().close()
        connection = idle.pop() if idle else await open_connection()
        sent = time.perf_counter()
        reply = await connection.send(make(number))
        milliseconds.append((time.perf_counter() - sent) * 1000)
        on_reply(reply)
        idle.append(connection)

    async with asyncio.TaskGroup() as group:
        for number in range(round(per_second * seconds)):
            await asyncio.sleep(max(0.0, started + number / per_second - time.perf_counter()))
            group.create_task(one(number))
    for connection in idle:
        connection.close()
    return Load(time.perf_counter() - started, milliseconds)
