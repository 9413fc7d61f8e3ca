"""A steady load of what commands write, at even times whether or not the last one was answered: an open loop."""

import asyncio
import itertools
import secrets
import time
from dataclasses import dataclass, field
from typing import Any

from benchmarks.appends.made_up import COMMAND_TYPE, TENANT, USER, MadeUp
from benchmarks.metrics import percentile
from domain.knowledge.events import DocumentUploaded
from domain.shared.access import Visibility
from domain.shared.events import Event
from eventstore.append import Appender
from eventstore.errors import EventStoreError
from eventstore.records import Append, Claims, CommandRecord, Counter, EventMetadata, StreamEvent

_KEY_SECONDS = 10
_CLAIMS = 600
"""Names that are taken in turns, each by one stream and released by another half a turn later."""
_UPLOAD_EVERY = 20
_LIMIT = 2**50


@dataclass(slots=True)
class Times:
    """How long the answers took since they were last told; `refused` is what did not get through."""

    milliseconds: list[float] = field(default_factory=list)
    refused: int = 0

    def tell(self, seconds: float) -> dict[str, Any]:
        """Return what was noted in `seconds`, and begin anew."""
        told: dict[str, Any] = {"per_second": round(len(self.milliseconds) / seconds, 1), "refused": self.refused}
        if self.milliseconds:
            told |= {f"p{each}_ms": round(percentile(self.milliseconds, each), 2) for each in (50, 99)}
        self.milliseconds, self.refused = [], 0
        return told


class SteadyLoad:
    """Appends what a command writes; every append raises a counter of the tenant, takes a claim and releases one."""

    def __init__(self, appender: Appender, per_second: float) -> None:
        self._appender = appender
        self._per_second = per_second
        self._made_up = MadeUp()
        self.times = Times()

    async def run(self) -> None:
        """Append until cancelled. A time runs from when the append was due, so that a late start counts."""
        started = time.perf_counter()
        async with asyncio.TaskGroup() as group:
            for number in itertools.count():
                due = started + number / self._per_second
                await asyncio.sleep(max(0.0, due - time.perf_counter()))
                group.create_task(self._append(number, due))

    async def _append(self, number: int, due: float) -> None:
        try:
            await self._appender.append(self._made(number))
        except EventStoreError:
            self.times.refused += 1
        else:
            self.times.milliseconds.append((time.perf_counter() - due) * 1000)

    def _made(self, number: int) -> Append:
        command = self._made_up.command(_KEY_SECONDS)
        event: Event
        if number % _UPLOAD_EVERY == 0:
            stream, event = f"document-{command.command_id}", _uploaded(command)
        else:
            stream, event = f"entry-{command.command_id}", self._made_up.created(command.command_id, ("clay",))
        return Append(
            TENANT,
            command,
            (StreamEvent(stream, 1, event),),
            EventMetadata(actor=USER, command_type=COMMAND_TYPE, correlation_id=command.command_id),
            claims=Claims({_claim(number): stream}, (_claim(number + _CLAIMS // 2),)),
            counters=(Counter("storage", 1, _LIMIT),),
        )


def _uploaded(command: CommandRecord) -> DocumentUploaded:
    return DocumentUploaded(
        document_id=command.command_id,
        owner=USER,
        visibility=Visibility.TENANT,
        file_name="layers.pdf",
        media_type="application/pdf",
        size=1234,
        sha256=secrets.token_hex(32),
        category=None,
        tags=(),
    )


def _claim(number: int) -> str:
    return f"name:{number % _CLAIMS}"
