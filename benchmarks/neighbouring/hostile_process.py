"""The hostile tenant: sends one kind of load after the other, in a process of its own that gives way to all others.

Its first line is an `Address` as JSON. Then come pairs of lines: an `Order` as JSON, which is answered when the load
begins, and any line, which is answered when the last answer has come: with the counts of the answers by status.
"""

import asyncio
import itertools
import json
import os
import sys
from collections import Counter
from collections.abc import Iterator
from uuid import uuid4

import httpx
from pydantic import BaseModel

from benchmarks.neighbouring.kinds import KINDS, Kind, Sent, Sizes

_NICE = 10
_ANSWER_SECONDS = 30.0
_PREFIX = "/api/v1"

LEFT_OUT = "left out"
"""Counts the requests that were not sent, because too many were on their way."""


class Address(BaseModel):
    """Where to send, and the tokens of two users of the tenant."""

    url: str
    editors_token: str
    readers_token: str


class Order(BaseModel):
    """Which load, and for how many seconds requests are begun."""

    kind: str
    seconds: float


class Hostile:
    """Sends, and counts what was answered: statuses, and the names of errors where no answer came."""

    def __init__(self, http: httpx.AsyncClient, address: Address) -> None:
        self._http = http
        self._tokens = {False: address.editors_token, True: address.readers_token}
        self._answers: Counter[str] = Counter()

    async def run(self, kind: Kind, requests: Iterator[Sent], seconds: float) -> Counter[str]:
        """Begin requests at the kind's rate; one is left out where its time comes while too many are on their way."""
        self._answers = Counter()
        loop = asyncio.get_running_loop()
        places = asyncio.Semaphore(kind.at_once)
        began = loop.time()
        async with asyncio.TaskGroup() as group:
            for number in range(max(2, round(kind.per_second * seconds))):
                await asyncio.sleep(max(0.0, began + number / kind.per_second - loop.time()))
                if loop.time() - began > seconds:
                    break
                if places.locked():
                    self._answers[LEFT_OUT] += 1
                else:
                    await places.acquire()
                    group.create_task(self._send(next(requests), places))
        return self._answers

    async def _send(self, request: Sent, places: asyncio.Semaphore) -> None:
        headers = {
            "Authorization": f"Bearer {self._tokens[request.is_readers]}",
            "Content-Type": request.media_type,
            "Idempotency-Key": str(uuid4()),
        }
        try:
            response = await self._http.request(
                request.method, f"{_PREFIX}{request.path}", content=request.body, headers=headers
            )
            self._answers[str(response.status_code)] += 1
        except httpx.TransportError as error:
            self._answers[type(error).__name__] += 1
        finally:
            places.release()


async def serve() -> None:
    """Answer the lines on standard input until it ends."""
    address = Address.model_validate_json(sys.stdin.readline())
    print("ready", flush=True)
    limits = httpx.Limits(max_connections=None)
    async with httpx.AsyncClient(base_url=address.url, timeout=_ANSWER_SECONDS, limits=limits, trust_env=False) as http:
        hostile = Hostile(http, address)
        while line := await asyncio.to_thread(sys.stdin.readline):
            order = Order.model_validate_json(line)
            kind = KINDS[order.kind]
            requests = kind.requests(Sizes())
            first = next(requests)  # which makes most of the others
            load = asyncio.create_task(hostile.run(kind, itertools.chain([first], requests), order.seconds))
            print("begun", flush=True)
            await asyncio.to_thread(sys.stdin.readline)
            print(json.dumps(dict(sorted((await load).items()))), flush=True)


if __name__ == "__main__":
    os.nice(_NICE)
    asyncio.run(serve())
