"""Tasks that run beside their caller, what they wait for, and their sure end."""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import Any

_AGAIN_SECONDS = 2.0


async def end(*tasks: asyncio.Task[Any]) -> None:
    """Cancel `tasks`, and return when all of them have ended; what they raised is dropped.

    One cancellation is not enough on Python 3.11: `asyncio.wait_for`, with which psycopg waits, now and then swallows
    it (https://github.com/python/cpython/issues/86296). Between two of them a task has time to put things in order.
    """
    pending = set(tasks)
    while pending:
        for task in pending:
            task.cancel()
        _, pending = await asyncio.wait(pending, timeout=_AGAIN_SECONDS)
    await asyncio.gather(*tasks, return_exceptions=True)


async def until_set(event: asyncio.Event, seconds: float | None) -> None:
    """Wait for `event`, at the most so many seconds; None is without end."""
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()


async def completed(work: Coroutine[Any, Any, None]) -> None:
    """Await `work` to its end, whoever cancels the caller meanwhile: what puts things in order is not left halfway.

    Raises:
        BaseException: what `work` raised, or the cancellation, when `work` has ended.
    """
    task = asyncio.create_task(work)
    cancelled: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.wait([task])
        except asyncio.CancelledError as error:
            cancelled = error
    await task
    if cancelled is not None:
        raise cancelled


@asynccontextmanager
async def running_beside(*works: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Run `works` for as long as the block."""
    async with AsyncExitStack() as stack:
        run_beside(stack, *works)
        yield


def run_beside(stack: AsyncExitStack, *works: Coroutine[Any, Any, None]) -> None:
    """Run `works` until `stack` is closed."""
    for work in works:
        stack.push_async_callback(end, asyncio.create_task(work))


async def run_together(*works: Coroutine[Any, Any, None]) -> None:
    """Run `works` until cancelled, or until one of them ends; then end the others and raise what it raised."""
    tasks = [asyncio.create_task(work) for work in works]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        await completed(end(*tasks))
