"""Turns of the event loop: of all long computations of a process, one goes on in each, for some milliseconds.

What is quick, another tenant's question say, waits for one slice of them at each of its steps, however many there are.
"""

import asyncio
import time
import weakref
from collections import deque
from collections.abc import Callable, Generator, Iterable
from typing import TypeVar

S = TypeVar("S")
T = TypeVar("T")

Steps = Generator[None, None, T]
"""A computation in steps: each is short, and between two of them it can be left and continued."""

_SLICE_SECONDS = 0.002


class Turn:
    """The turn of one computation, which pauses between its steps; a step is as long as it is."""

    def __init__(self) -> None:
        self._end = time.perf_counter() + _SLICE_SECONDS

    async def pause(self) -> None:
        """Wait for the next turn if this one was long."""
        if time.perf_counter() > self._end:
            await _queue().next_turn()
            self._end = time.perf_counter() + _SLICE_SECONDS


async def made_in_turns(make: Callable[[S], T], items: Iterable[S]) -> list[T]:
    """Return what `make` makes of each of `items`."""
    turn, made = Turn(), []
    for item in items:
        made.append(make(item))
        await turn.pause()
    return made


async def run_in_turns(steps: Steps[T]) -> T:
    """Return the result of `steps`, or raise its exception."""
    await _queue().next_turn()
    turn = Turn()
    while True:
        try:
            next(steps)
        except StopIteration as done:
            result: T = done.value
            return result
        await turn.pause()


class _Queue:
    """Those that wait for a turn of one event loop, in order."""

    def __init__(self) -> None:
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._is_called = False

    async def next_turn(self) -> None:
        future = asyncio.get_running_loop().create_future()
        self._waiting.append(future)
        self._call()
        await future

    def _call(self) -> None:
        if self._waiting and not self._is_called:
            self._is_called = True
            asyncio.get_running_loop().call_soon(self._let_one_go_on)

    def _let_one_go_on(self) -> None:
        self._is_called = False
        while self._waiting:
            future = self._waiting.popleft()
            if not future.done():  # cancelled
                future.set_result(None)
                break
        self._call()  # in the turn in which that one goes on; what it lets go on does so in the turn after it


_queues: "weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, _Queue]" = weakref.WeakKeyDictionary()


def _queue() -> _Queue:
    loop = asyncio.get_running_loop()
    queue = _queues.get(loop)
    if queue is None:
        queue = _queues[loop] = _Queue()  # it keeps no loop, or none would ever go
    return queue
