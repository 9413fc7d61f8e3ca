"""Follows the log for those who keep answers: which tenants had events that a read model takes, and up to where.

Nothing is written for it, so there is nothing that a worker could forget: an answer's epoch is its position, read in
the snapshot of its rows, and it is good as long as its tenant has no later event of the model.
"""

import asyncio
import time
from collections.abc import Collection, Mapping, Sequence
from typing import Any
from zlib import crc32

import orjson
import psycopg
from psycopg_pool import AsyncConnectionPool, PoolTimeout

from eventstore.background import until_set
from eventstore.fault_log import FAULTS

_CHANGES = "select varve.changes(%s)"
_HEAD = "select varve.head()"
_MOST_EVENTS = 20_000
"""Of a longer gap only the end is looked at: some milliseconds."""
_MOST_TENANTS = 100_000
_IN_USE_SECONDS = 5.0
"""For so long after the last question it goes on looking; then nothing is asked until the next one."""
_LEAST_SECONDS = 0.01
"""Between two looks, however often it is woken."""


class ReadModelChanges:
    """Knows up to `seconds` ago for which tenants and models the log has news.

    Nothing is known while the database does not answer, nor of what lies before `_floor`; then nothing is current.
    """

    def __init__(
        self, pool: AsyncConnectionPool[Any], topics: Mapping[str, Collection[str]], *, seconds: float
    ) -> None:
        """Take by read model the topics of its events, and how old what is known may be; 0 to know nothing."""
        self._pool = pool
        self._seconds = seconds
        self._models: dict[str, list[str]] = {}
        for model, taken in topics.items():
            for topic in taken:
                self._models.setdefault(topic, []).append(model)
        self._last: dict[tuple[int, str], int] = {}
        self._versions: Mapping[str, str] = {}
        self._epoch = ""
        self._head = 0
        self._floor = 0
        self._known_at = float("-inf")
        self._used_at = float("-inf")
        self._looking: asyncio.Task[None] | None = None
        self._is_due = asyncio.Event()

    def wake(self) -> None:
        """Look at the log soon, if anybody asks at present."""
        self._is_due.set()

    async def run(self) -> None:
        """Look at every wake-up and before what is known is too old, as long as somebody asks, until cancelled."""
        while True:
            is_used = time.monotonic() - self._used_at < _IN_USE_SECONDS
            await until_set(self._is_due, self._seconds / 2 if is_used else None)
            self._is_due.clear()
            if time.monotonic() - self._used_at < _IN_USE_SECONDS:
                await self._look_once()
                await asyncio.sleep(_LEAST_SECONDS)

    async def know(self) -> bool:
        """Return whether what is known is new enough, after a look if it was not."""
        if not self._seconds:
            return False
        if not self.is_known():
            was_used = time.monotonic() - self._used_at < _IN_USE_SECONDS
            self._used_at = time.monotonic()
            if not was_used:
                self._is_due.set()  # so that it goes on looking
            await self._look_once()
        return self.is_known()

    def is_known(self) -> bool:
        """Whether what is known is new enough; to ask keeps it so."""
        now = time.monotonic()
        if now - self._known_at > self._seconds:
            return False
        self._used_at = now
        return True

    def is_current(self, tenant: str, positions: Mapping[str, int], versions: Mapping[str, str], epoch: str) -> bool:
        """Whether rows that were read at `positions` of these models are those that they have now.

        Where the models are behind the log, rows that lack its last events are not current, though nobody has better.
        """
        if epoch != self._epoch:
            return False
        number = crc32(tenant.encode())
        for model, position in positions.items():
            if position < self._floor or position < self._last.get((number, model), 0):
                return False
            if self._versions.get(model) != versions.get(model):
                return False
        return True

    async def _look_once(self) -> None:
        """Look at the log, together with whoever waits for the same."""
        if self._looking is None or self._looking.done():
            self._looking = asyncio.create_task(self._look(), name="changes")
        await asyncio.shield(self._looking)

    async def _look(self) -> None:
        began = time.monotonic()
        try:
            async with self._pool.connection() as connection:
                if self._epoch == "" or began - self._known_at > _IN_USE_SECONDS:
                    (head,) = await (await connection.execute(_HEAD, prepare=True)).fetchone() or (0,)
                    if head - self._head > _MOST_EVENTS:
                        self._begin_at(head - _MOST_EVENTS)
                (found,) = await (await connection.execute(_CHANGES, (self._head,), prepare=True)).fetchone() or ("",)
        except (psycopg.Error, PoolTimeout) as error:
            FAULTS.note("changes.unknown", error)
            return
        self._note(**orjson.loads(found))
        self._known_at = began

    def _note(
        self, epoch: str, head: int, versions: Mapping[str, str], changed: Sequence[tuple[int, str, int]]
    ) -> None:
        if epoch != self._epoch and self._epoch:
            self._begin_at(head)  # positions of another history say nothing about this one
        self._epoch, self._head, self._versions = epoch, max(head, self._floor), versions
        if len(self._last) > _MOST_TENANTS:
            self._begin_at(head)
        for number, topic, position in changed:
            for model in self._models.get(topic, ()):
                key = number, model
                self._last[key] = max(position, self._last.get(key, 0))

    def _begin_at(self, position: int) -> None:
        """Forget what lies before: whatever is not newer counts as old."""
        self._last.clear()
        self._head = self._floor = position
