"""A server of its own under hostile requests: it answers others meanwhile, and stays small."""

import asyncio
import time
from contextlib import suppress
from pathlib import Path

import httpx
import pytest
from httpx import AsyncClient

from api.slots import Slots
from tests.api.hostile_bodies import body
from tests.builders.actors import ANN, EVE, RITA_READS
from tests.builders.requests import ENTRIES
from tests.fixtures.http import api_process
from varve.http_protocol import MOST_HEAD_BYTES

HOSTILE = ["nulls as entries", "objects as entries", "numbers", "unknown keys", "escaped quotes", "deep lists"]
MOST_SECONDS = 3.0
"""For /health/live, on a machine that others use as well; it took as long as the check, 60 s and more, before."""
MOST_MEGABYTES = 400
_HEADERS = {"Content-Type": "application/json"}


async def test_others_are_answered_while_hostile_bodies_are_checked(settings, bearer_of):
    bodies = {shape: body(shape, 9_900_000) for shape in HOSTILE}
    async with api_process(settings) as url, AsyncClient(base_url=url, timeout=60, trust_env=False) as client:

        async def send(shape: str, person=ANN) -> int:
            headers = bearer_of(person) | _HEADERS
            return (await client.post(f"{ENTRIES}:batch", content=bodies[shape], headers=headers)).status_code

        assert await send("nulls as entries", RITA_READS) == 403
        sent = [asyncio.create_task(send(shape, person)) for shape in HOSTILE for person in (ANN, EVE)]
        slowest = 0.0
        while not all(task.done() for task in sent):
            started = time.perf_counter()
            assert (await client.get("/health/live")).status_code == 200
            slowest = max(slowest, time.perf_counter() - started)
            await asyncio.sleep(0.02)
        assert {task.result() for task in sent} <= {400, 422}
        assert slowest < MOST_SECONDS
        assert _megabytes(url) < MOST_MEGABYTES


async def test_a_head_without_an_end_is_not_gathered(settings):
    async with api_process(settings) as url, AsyncClient(base_url=url, trust_env=False) as client:
        for start in (b"GET /", b"GET / HTTP/1.1\r\nX-Any: "):
            assert await _answer_to_endless(url, start) < MOST_HEAD_BYTES * 10
        assert (await client.get("/health/live")).status_code == 200


async def _answer_to_endless(url: httpx.URL, start: bytes) -> int:
    """How many bytes could be sent before the server answered or closed the connection."""
    reader, writer = await asyncio.open_connection(url.host, url.port)
    answer = asyncio.create_task(reader.read())
    sent = len(start)
    writer.write(start)
    with suppress(OSError):
        while not answer.done() and sent < 50_000_000:
            writer.write(b"x" * 65_536)
            sent += 65_536
            await writer.drain()
            await asyncio.sleep(0.02)
    writer.close()
    answer.cancel()
    return sent


def _megabytes(url: httpx.URL) -> float:
    """The greatest memory that the process which listens at `url` has had."""
    for status in Path("/proc").glob("[0-9]*/environ"):
        try:
            if f"VARVE_API_PORT={url.port}".encode() not in status.read_bytes().split(b"\0"):
                continue
            lines = (status.parent / "status").read_text().splitlines()
        except OSError:
            continue
        return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1_000
    raise AssertionError("no process listens there")


async def test_a_tenant_has_two_slots_and_takes_none_of_others():
    slots = Slots(for_each=2)
    held = []

    async def hold(tenant: str) -> None:
        async with slots.taken(tenant):
            held.append(tenant)
            await asyncio.Event().wait()

    tasks = [asyncio.create_task(hold(tenant)) for tenant in ("acme", "acme", "acme", "umbra")]
    await asyncio.sleep(0.01)
    assert sorted(held) == ["acme", "acme", "umbra"]
    tasks[0].cancel()
    await asyncio.sleep(0.01)
    assert sorted(held) == ["acme", "acme", "acme", "umbra"]
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


@pytest.mark.parametrize("raised", [None, ValueError("no")])
async def test_a_slot_is_given_back(raised):
    slots = Slots(for_each=1)
    for _ in range(3):
        with suppress(ValueError):
            async with asyncio.timeout(1), slots.taken("acme"):
                if raised is not None:
                    raise raised
