"""The tenant beside: a steady, low rate of commands, queries, searches and documents, each of them timed."""

import asyncio
import itertools
import json
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from urllib.parse import quote
from uuid import uuid4

from benchmarks.corpus import made_up_entries
from benchmarks.http_load import Connection, Reply, Request, RequestFailed
from benchmarks.metrics import percentile
from benchmarks.neighbouring.rates import RATES, Measure

_PREFIX = "/api/v1"
_ANSWER_SECONDS = 30.0
_BOUNDARY = "neighbours-file"

UPLOADED_AS = f"multipart/form-data; boundary={_BOUNDARY}"
"""The media type of the connections for uploads."""


@dataclass
class Times:
    """Milliseconds since each request was due; one that failed counts as the longest that is waited for."""

    milliseconds: list[float] = field(default_factory=list)
    failed: int = 0

    @property
    def p95(self) -> float:
        return percentile(self.milliseconds, 95)


class Connections:
    """Keep-alive connections, one for each request that is on its way."""

    def __init__(self, connect: Callable[[], Awaitable[Connection]]) -> None:
        self._connect = connect
        self._idle: list[Connection] = []

    async def send(self, request: Request, header: str = "") -> Reply:
        """Return the answer.

        Raises:
            RequestFailed: its status is not a success.
            OSError: there is none.
        """
        while self._idle and not self._idle[-1].is_open:
            self._idle.pop().close()
        connection = self._idle.pop() if self._idle else await self._connect()
        is_answered = False
        try:
            reply = await connection.send(request, header)
            is_answered = True
            return reply
        finally:
            if is_answered:
                self._idle.append(connection)
            else:
                connection.close()

    def close(self) -> None:
        while self._idle:
            self._idle.pop().close()


class Neighbour:
    """Sends as one tenant, and measures."""

    def __init__(self, connections: Connections, uploads: Connections, entry_ids: Sequence[str]) -> None:
        self._connections = connections
        self._uploads = uploads
        self._entry_ids = itertools.cycle(entry_ids)
        self._entries = made_up_entries(seed=2)
        self._questions = made_up_entries(seed=3)
        self._calls: Mapping[Measure, Callable[[], Awaitable[None]]] = {
            "command": self._command,
            "query": self._query,
            "list": self._list,
            "search": self._search,
            "document": self._document,
            "wait": self._wait,
        }

    async def measure(self, seconds: float) -> Mapping[Measure, Times]:
        """Send at the rates of `RATES` for some seconds, and return the times when all is answered."""
        times = {name: Times() for name in RATES}
        began = time.perf_counter()
        async with asyncio.TaskGroup() as group:
            for name in RATES:
                group.create_task(self._send(self._calls[name], times[name], _moments(name, seconds), began))
        return times

    async def _send(
        self, call: Callable[[], Awaitable[None]], times: Times, moments: Iterator[float], began: float
    ) -> None:
        async with asyncio.TaskGroup() as group:
            for moment in moments:
                due = began + moment
                await asyncio.sleep(max(0.0, due - time.perf_counter()))
                group.create_task(self._timed(call, times, due))

    async def _timed(self, call: Callable[[], Awaitable[None]], times: Times, due: float) -> None:
        try:
            async with asyncio.timeout(_ANSWER_SECONDS):
                await call()
            times.milliseconds.append((time.perf_counter() - due) * 1000)
        except (RequestFailed, TimeoutError, OSError, EOFError):
            times.failed += 1
            times.milliseconds.append(_ANSWER_SECONDS * 1000)

    async def _command(self) -> None:
        await self._create()

    async def _wait(self) -> None:
        """Create an entry, and read it as it is then."""
        entry_id, position = await self._create()
        request = Request("GET", f"{_PREFIX}/entries/{entry_id}")
        await self._connections.send(request, f"X-Min-Position: {position}\r\n")

    async def _create(self) -> tuple[str, str]:
        request = Request("POST", f"{_PREFIX}/entries", json.dumps(next(self._entries)).encode())
        answer = json.loads((await self._connections.send(request, _key())).body)
        return answer["aggregate_id"], answer["position"]

    async def _query(self) -> None:
        await self._connections.send(Request("GET", f"{_PREFIX}/entries/{next(self._entry_ids)}"))

    async def _list(self) -> None:
        await self._connections.send(Request("GET", f"{_PREFIX}/entries?limit=20"))

    async def _search(self) -> None:
        question = quote(next(self._questions)["name"])
        await self._connections.send(Request("GET", f"{_PREFIX}/search?limit=10&q={question}"))

    async def _document(self) -> None:
        """Upload a file, and wait until it is processed."""
        text = f"{uuid4()} {next(self._entries)['description']}"
        head = 'Content-Disposition: form-data; name="file"; filename="layers.txt"\r\nContent-Type: text/plain'
        body = f"--{_BOUNDARY}\r\n{head}\r\n\r\n{text}\r\n--{_BOUNDARY}--\r\n".encode()
        reply = await self._uploads.send(Request("POST", f"{_PREFIX}/documents", body), _key())
        answer = json.loads(reply.body)
        path = f"{_PREFIX}/documents/{answer['aggregate_id']}?wait=processed"
        while True:
            reply = await self._connections.send(Request("GET", path), f"X-Min-Position: {answer['position']}\r\n")
            if json.loads(reply.body)["status"] in {"processed", "failed"}:
                return


def _moments(name: Measure, seconds: float) -> Iterator[float]:
    """Yield when to send, in seconds from the beginning: the same moments in every measurement.

    They are random, since at even distances a request would meet the same other one each time.
    """
    random = Random(name)  # noqa: S311 - moments, not secrets
    moment = 0.0
    while moment < seconds:
        yield moment
        moment += random.expovariate(RATES[name])


def _key() -> str:
    return f"Idempotency-Key: {uuid4()}\r\n"
