"""A worker process that stops itself once in the middle of a batch of `listed`, and goes on when it is woken."""

import asyncio
import os
import signal
import sys
from collections.abc import Sequence
from typing import Any

from eventstore.records import RecordedEvent
from projections.definition import Connection, Generation
from tests.projections.counting import Listed
from varve.bootstrap import open_engine
from varve.settings import Settings

POINTS = ("before its rows", "after its rows")
FIRST_POSITION = 10
"""What is up to here is applied before the process stops."""


class Stopping(Listed):
    """Stops its process before the transaction of a batch, or in it, with the rows written and the position not."""

    def __init__(self, point: str) -> None:
        self._point = point

    async def prepare(self, connection: Connection, generation: Generation, events: Sequence[RecordedEvent]) -> None:
        self._reach("before its rows", events)

    async def apply(
        self, connection: Connection, generation: Generation, events: Sequence[RecordedEvent], prepared: Any
    ) -> None:
        await super().apply(connection, generation, events, prepared)
        self._reach("after its rows", events)

    def _reach(self, point: str, events: Sequence[RecordedEvent]) -> None:
        if point == self._point and events[-1].position > FIRST_POSITION:
            self._point = ""
            os.kill(os.getpid(), signal.SIGSTOP)


async def main(point: str) -> None:
    async with open_engine(Settings(), more_projections=[Stopping(point)]) as engine:
        await engine.run()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
