"""The load is sent as it is described, to a real server."""

import functools

import pytest

from benchmarks.bare_route import bare_route
from benchmarks.http_load import Connection, Request, RequestFailed, closed_loop, open_loop


@pytest.fixture
async def connect():
    async with bare_route() as url:
        yield functools.partial(Connection.open, url)


async def test_a_closed_loop_counts_and_times_every_answer(connect):
    bodies = []

    load = await closed_loop(
        connect,
        lambda _: Request("GET", "/"),
        concurrency=3,
        seconds=0.2,
        on_reply=lambda reply: bodies.append(reply.body),
    )

    assert set(bodies) == {b'{"ok":true}'}
    assert len(load.milliseconds) == len(bodies)
    assert load.seconds >= 0.2
    assert load.per_second == pytest.approx(len(bodies) / load.seconds)


async def test_an_open_loop_sends_at_its_rate(connect):
    numbers = []

    def make(number):
        numbers.append(number)
        return Request("GET", "/")

    load = await open_loop(connect, make, per_second=50, seconds=0.4, on_reply=lambda _: None)

    assert numbers == list(range(20))
    assert load.seconds >= 19 / 50


async def test_an_error_ends_the_run(connect):
    with pytest.raises(RequestFailed, match="GET /nowhere: 404"):
        await closed_loop(connect, lambda _: Request("GET", "/nowhere"), concurrency=1, seconds=0.2)
