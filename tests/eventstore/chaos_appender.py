"""A process that appends whatever it can think of, and writes down what it sent and what it was told.

What it sends is written before it is sent, with `os.write`, so that a killed process leaves no append unmentioned.
"""

import asyncio
import json
import os
import random
import signal
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

import structlog

from eventstore.batch_appender import BatchAppender, open_batch_appender
from eventstore.errors import AppenderBusy, EventStoreError, StoreUnavailable, StreamConflict
from eventstore.prepare import PreparedAppend
from eventstore.records import Boundary, BoundaryItem, Claims, Counter
from eventstore.rows import EventRow
from tests.builders.prepared import command, prepared, row, rows_of
from tests.chaos.choices import choices_of

SLOTS = 3
_TASKS = 4
_SHARED_STREAMS = 3
_PAUSE_SECONDS = 0.03
_SLICES_OF_A_SECOND = 10
"""How long the processes race for one claim, counter or seat."""


def append_until_told(url: str, name: str, seed: int, ledger: Path, most_seconds: float) -> None:
    """Append until SIGTERM comes, or until `most_seconds` have passed because nobody is left to send it."""
    structlog.configure(logger_factory=structlog.ReturnLoggerFactory())  # what goes wrong here is wanted
    asyncio.run(_append(url, name, seed, ledger, most_seconds))


async def _append(url: str, name: str, seed: int, ledger: Path, most_seconds: float) -> None:
    is_over = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, is_over.set)
    loop.call_later(most_seconds, is_over.set)
    file = os.open(ledger, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    async with open_batch_appender(url) as appender, asyncio.TaskGroup() as group:
        for number in range(_TASKS):
            caller = _Caller(appender, f"{name} {number}", choices_of(seed, f"{name} {number}"), file)
            group.create_task(caller.run(is_over))
    os.close(file)


@dataclass
class _Caller:
    appender: BatchAppender
    name: str
    choice: random.Random
    ledger: int
    own: list[int] = field(default_factory=lambda: [0, 0])
    """The number of the stream that nobody else writes, and its version."""
    guesses: defaultdict[str, int] = field(default_factory=lambda: defaultdict(int))
    held: list[str] = field(default_factory=list)
    counted: list[str] = field(default_factory=list)

    async def run(self, is_over: asyncio.Event) -> None:
        kinds: list[Callable[[str], Awaitable[None]]] = [
            *(self._to_own_stream, self._to_shared_stream, self._to_no_stream),
            *(self._with_claim, self._without_claim, self._with_counter, self._with_less, self._on_seat),
        ]
        while not is_over.is_set():
            await self.choice.choice(kinds)(str(uuid4()))
            await asyncio.sleep(self.choice.uniform(0, _PAUSE_SECONDS))

    async def _to_own_stream(self, attempt: str) -> None:
        count = self.choice.randint(1, 3)
        rows = rows_of(f"own {self.name} {self.own[0]}", self.own[1], count, data=_data(attempt))
        if await self._send(attempt, rows) == "durable":
            self.own[1] += count
        else:  # whether it was stored is unknown
            self.own = [self.own[0] + 1, 0]

    async def _to_shared_stream(self, attempt: str) -> None:
        stream = f"shared {self.choice.randrange(_SHARED_STREAMS)}"
        told = await self._send(attempt, rows_of(stream, self.guesses[stream], data=_data(attempt)))
        if told == "durable":
            self.guesses[stream] += 1

    async def _to_no_stream(self, attempt: str) -> None:
        await self._send(attempt, [row(None, data=_data(attempt))])

    async def _with_claim(self, attempt: str) -> None:
        claim = _of_now("claim")
        if await self._send(attempt, [_event(attempt)], claims=Claims(taken={claim: attempt})) == "durable":
            self.held.append(claim)

    async def _without_claim(self, attempt: str) -> None:
        if self.held:
            released = self.held.pop()
            await self._send(attempt, [_event(attempt)], claims=Claims(released=(released,)))

    async def _with_counter(self, attempt: str) -> None:
        name = _of_now("slots")
        if await self._send(attempt, [_event(attempt)], counters=(Counter(name, 1, SLOTS),)) == "durable":
            self.counted.append(name)

    async def _with_less(self, attempt: str) -> None:
        if self.counted:
            await self._send(attempt, [_event(attempt)], counters=(Counter(self.counted.pop(), -1, SLOTS),))

    async def _on_seat(self, attempt: str) -> None:
        seat = _of_now("seat")
        boundary = Boundary((BoundaryItem(tags=(seat,)),))
        await self._send(attempt, [row(None, tags=(seat,), data=_data(attempt))], boundary=boundary)

    async def _send(self, attempt: str, rows: list[EventRow], **conditions: Any) -> str:
        """Append, with a command or without, and return what was told: durable, refused or unknown."""
        record = command() if self.choice.random() < 0.5 else None
        append = prepared(*rows, command=record, **conditions)
        self._write(attempt=attempt, events=len(rows), command=str(append.append_id) if record else None)
        told, more = await self._tell(append)
        self._write(attempt=attempt, told=told, **more)
        return told

    async def _tell(self, append: PreparedAppend) -> tuple[str, dict[str, object]]:
        try:
            appended = await self.appender.append(append)
        except StreamConflict as conflict:
            self.guesses[conflict.stream] = conflict.actual
            return "refused", {"error": "StreamConflict"}
        except AppenderBusy:
            return "refused", {"error": "AppenderBusy"}
        except StoreUnavailable:
            return "unknown", {}
        except EventStoreError as error:
            return "refused", {"error": type(error).__name__}
        return "durable", {"position": appended.position}

    def _write(self, **entry: object) -> None:
        os.write(self.ledger, json.dumps(entry).encode() + b"\n")


def _event(attempt: str) -> EventRow:
    return row(f"once {attempt}", data=_data(attempt))


def _data(attempt: str) -> bytes:
    return json.dumps({"attempt": attempt}).encode()


def _of_now(name: str) -> str:
    return f"{name} {int(time.time() * _SLICES_OF_A_SECOND)}"
