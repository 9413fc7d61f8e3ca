"""One reading and decoding of the log for all lanes of a process that are at the same place.

Not a `Subscription`, which has one place of its own: lanes stand where their last commit left them, and a failed batch
is asked for again. What they share is the reader and the listener. Nor does it ask for the topics that its projections
take: an event of newer code would then be passed, and missing from a projection whose newer code takes it.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Collection, Sequence
from typing import Any

from psycopg_pool import AsyncConnectionPool

from domain.shared.events import Event
from eventstore.background import end
from eventstore.log import FetchedRows, LogReader, Window
from eventstore.log_filter import LogFilter
from eventstore.records import RecordedEvent
from eventstore.slots import SLOTS, slot_of
from eventstore.thinning import Thinning
from projections.definition import Projection
from projections.leases import LaneKey

_KEPT_WINDOWS = 8
_BULK_WINDOW = 10_000
_BULK_OCTETS = 20_000_000


class SharedWindow:
    """A window, and which of its events each projection takes: worked out once for all of its lanes."""

    def __init__(self, window: Window) -> None:
        self.scanned_to = window.scanned_to
        self.is_full = window.is_full
        self.events = window.events
        self._taken: dict[str, tuple[Sequence[RecordedEvent], bytes]] = {}

    def taken_by(self, projection: Projection, slots: range) -> list[RecordedEvent]:
        """Return the events that `projection` takes and whose partitions are in `slots`."""
        if len(slots) == SLOTS:
            return [event for event in self.events if projection.takes(event)]
        if projection.NAME not in self._taken:
            events = [event for event in self.events if projection.takes(event)]
            self._taken[projection.NAME] = events, bytes([slot_of(projection.partition(event)) for event in events])
        return [event for event, slot in zip(*self._taken[projection.NAME], strict=True) if slot in slots]


class SharedLog:
    """Reads windows for lanes: those that ask for the same while it is read, or soon after, share it."""

    def __init__(self, pool: AsyncConnectionPool[Any], reader: LogReader, window_size: int) -> None:
        self._pool = pool
        self._reader = reader
        self._window_size = window_size
        self._windows: dict[tuple[int, LogFilter], asyncio.Task[SharedWindow]] = {}
        self._forgotten: set[asyncio.Task[SharedWindow]] = set()
        self._behind: set[LaneKey] = set()

    def note(self, lane: LaneKey, *, is_behind: bool) -> None:
        """Note whether there is more for a lane than what it was given last."""
        if is_behind:
            self._behind.add(lane)
        else:
            self._behind.discard(lane)

    def would_share(self, lane: LaneKey, after: int, wanted: LogFilter) -> bool:
        """Whether a lane's window was read already for others, or others that are behind will want it."""
        return self._behind != {lane} or (after, wanted) in self._windows

    async def window(self, after: int, wanted: LogFilter) -> SharedWindow:
        """Return the wanted events after the position `after`, up to the window's size."""
        asked = (after, wanted)
        task = self._windows.pop(asked, None)
        if task is None:
            task = asyncio.create_task(self._read(after, wanted))
            task.add_done_callback(lambda done: self._keep_if_moving(asked, done))
        self._windows[asked] = task  # the last one now: those that nobody asked for longest are forgotten first
        # Shielded, because others wait for the same reading when one lane is cancelled.
        return await asyncio.shield(task)

    async def rows(self, after: int, wanted: LogFilter, limit: int) -> FetchedRows:
        """Return up to `limit` of the wanted events after the position `after`, undecoded."""
        async with self._pool.connection() as connection:
            return await self._reader.fetch(connection, after, limit, wanted)

    async def at(self, positions: Sequence[int], wanted: LogFilter) -> Sequence[RecordedEvent]:
        """Return the events at `positions`, in order; of `wanted` only voids are looked at."""
        async with self._pool.connection() as connection:
            return await self._reader.at(connection, positions, wanted)

    async def stretches(
        self, after: int, wanted: LogFilter, fetches_ahead: Callable[[], bool]
    ) -> AsyncGenerator[FetchedRows, None]:
        """Yield large windows up to the log's head, for one lane alone.

        Args:
            after: the position before the first of them.
            wanted: what is wanted of the log.
            fetches_ahead: whether the next window is to be fetched while one is used, or not before it is asked for.
        """
        reader = self._reader.for_bulk(_BULK_OCTETS)

        async def fetch(position: int) -> FetchedRows:
            async with self._pool.connection() as connection:
                return await reader.fetch(connection, position, _BULK_WINDOW, wanted)

        fetching: asyncio.Task[FetchedRows] | None = None
        position = after
        try:
            while True:
                fetched = await (fetching or fetch(position))
                position, fetching = fetched.scanned_to, None
                is_last = position >= fetched.head
                if not is_last and fetches_ahead():
                    fetching = asyncio.create_task(fetch(position))
                yield fetched
                if is_last:
                    return
        finally:
            if fetching is not None:
                await end(fetching)

    def thinning(self, overwriting: Collection[type[Event]], skipped: Collection[int]) -> Thinning:
        """Return what decodes the rows of stretches, but for those that are overwritten, and `skipped` positions."""
        return self._reader.thinning(overwriting, skipped)

    def forget_unfinished(self) -> None:
        """Let nobody join a reading that may lack an append that has just been told of."""
        for asked, task in list(self._windows.items()):
            if not task.done():
                del self._windows[asked]
                self._forgotten.add(task)
                task.add_done_callback(self._forgotten.discard)
            elif _ends_at_head(task):
                del self._windows[asked]

    def forget(self) -> None:
        """Forget every window: the log has another history now."""
        self.forget_unfinished()
        self._windows.clear()
        self._behind.clear()

    async def close(self) -> None:
        """End the readings that nobody waits for any more."""
        await end(*self._windows.values(), *self._forgotten)

    async def _read(self, after: int, wanted: LogFilter) -> SharedWindow:
        async with self._pool.connection() as connection:
            fetched = await self._reader.fetch(connection, after, self._window_size, wanted)
        return SharedWindow(await self._reader.decode(fetched))

    def _keep_if_moving(self, asked: tuple[int, LogFilter], task: asyncio.Task[SharedWindow]) -> None:
        """Forget a window in which nobody gets on: the next reading of the same place may find more."""
        is_kept = not task.cancelled() and task.exception() is None and task.result().scanned_to > asked[0]
        if not is_kept and self._windows.get(asked) is task:
            del self._windows[asked]
        while len(self._windows) > _KEPT_WINDOWS:
            del self._windows[next(iter(self._windows))]


def _ends_at_head(task: asyncio.Task[SharedWindow]) -> bool:
    return task.cancelled() or task.exception() is not None or not task.result().is_full
