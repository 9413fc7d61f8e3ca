"""Runs the lanes that this process has leases for: one subscription, one reading of the log, many lanes."""

import asyncio
import contextlib
import os
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable
from typing import Any

import psycopg
import structlog
from psycopg_pool import AsyncConnectionPool, PoolTimeout

from eventstore.background import completed, end, until_set
from eventstore.fault_log import FAULTS
from eventstore.faults import fault_of
from eventstore.log import LogReader
from eventstore.wake import CHANNEL, LANES_CHANNEL, READY_CHANNEL, WakeListener
from projections.checkpoints import Checkpoints
from projections.definition import Connection, Projection
from projections.generations import drop_superfluous, ensure_live, set_lanes
from projections.isolation import LaneChildren
from projections.lane import Lane, Step
from projections.layout import adjust
from projections.leases import (
    Known,
    LaneKey,
    LaneLease,
    Share,
    acquire,
    end_sessions,
    give_back,
    late_owners,
    part_of,
    release,
    renew,
)
from projections.parking import Due, due
from projections.shared_log import SharedLog
from projections.unknown_events import skip_as_requested

log = structlog.get_logger()

LEASE_SECONDS = 3.0
"""A dead worker's lanes are taken over after this time and one round of `_HEARTBEAT_SECONDS`."""
_HEARTBEAT_SECONDS = 0.75
_BEATS_TO_TIDY = 4
"""Lanes are split and merged, and old generations dropped, once in so many heartbeats."""
_WAKE_SECONDS = 0.015
"""Between two wake-ups, at the least: lanes that are woken together read the log together, and commit less often."""
_POLL_SECONDS = 15.0
"""Notifications and heartbeats wake lanes; they look by themselves in case both were lost."""
_DEFINITIONS_SECONDS = 5.0
"""So often a worker looks whether it is the turn of its definitions; at each heartbeat while some have to wait."""
_WINDOW = 2000


class StuckThreadError(Exception):
    """A fold that never returns keeps a thread of this process at work; only the process's end ends it."""


class Engine:
    """Acquires lanes, runs them, and gives them back; keeps one of the pool's connections to itself.

    A lost database ends nothing: leases run out by the database's clock, and are acquired again.
    """

    def __init__(
        self,
        projections: Iterable[Projection],
        *,
        pool: AsyncConnectionPool[Any],
        reader: LogReader,
        listen_url: str,
        owner: str,
        window_size: int = _WINDOW,
        on_step: Step = lambda _: None,
        children: LaneChildren | None = None,
        is_after_crash: bool = False,
        helpers: Callable[[], Iterable[int]] = tuple,
    ) -> None:
        self._projections = {projection.NAME: projection for projection in projections}
        definitions = {name: projection.definition() for name, projection in self._projections.items()}
        self._known = Known(definitions, reader.class_versions)
        self._pool = pool
        self._shared_log = SharedLog(pool, reader, window_size)
        self._checkpoints = Checkpoints(pool)
        self._turns = asyncio.Semaphore(max(1, (os.cpu_count() or 1) // 2))
        self._has_new_lanes = asyncio.Event()
        calls = {CHANNEL: self.wake, READY_CHANNEL: self._wake_waiting, LANES_CHANNEL: self._has_new_lanes.set}
        self._listener = WakeListener(listen_url, calls)
        self._owner = owner
        self._on_step = on_step
        self._children = children
        self._is_after_crash = is_after_crash
        """Until lanes were taken over: which of them the last worker crashed in is not known."""
        self._helpers = helpers
        self._lanes: dict[LaneKey, tuple[Lane, asyncio.Task[None]]] = {}
        self._waking: asyncio.TimerHandle | None = None
        self._woken_at = 0.0
        """By the event loop's clock."""
        self._due = Due()
        self._waiting: frozenset[str] = frozenset()
        """The projections that other code runs."""
        self._definitions_due: float | None = None
        self._kept: Connection | None = None
        self._beats = 0

    def wake(self) -> None:
        """Look at the log now; when that was a moment ago, a moment later, with what else will have come by then."""
        if self._waking is None:
            loop = asyncio.get_running_loop()
            self._waking = loop.call_at(self._woken_at + _WAKE_SECONDS, self._wake_lanes)

    def _wake_lanes(self) -> None:
        self._waking, self._woken_at = None, asyncio.get_running_loop().time()
        self._shared_log.forget_unfinished()
        for lane, _ in self._lanes.values():
            lane.wake()

    def _wake_waiting(self) -> None:
        for lane, _ in self._lanes.values():
            lane.wake_waiting()

    async def run(self) -> None:
        """Run until cancelled, then give the leases back.

        Raises:
            StuckThreadError: a fold that never returns has a thread of this process.
        """
        listener = asyncio.create_task(self._listener.run())
        try:
            while True:
                try:
                    await self._hold_lanes()
                except psycopg.Error as error:
                    FAULTS.note("engine.database_lost" if fault_of(error).is_lost else "engine.failed", error)
                if any(lane.may_have_stuck_thread and not lane.is_suspected for lane, _ in self._lanes.values()):
                    raise StuckThreadError
                await self._until_next_heartbeat()
        finally:
            await completed(self._give_back(listener))  # with a slow database until after the next cancellation

    async def _until_next_heartbeat(self) -> None:
        """Rest between two heartbeats; a rebuild that was asked for brings the next one forward."""
        await until_set(self._has_new_lanes, _HEARTBEAT_SECONDS)
        self._has_new_lanes.clear()

    async def _hold_lanes(self) -> None:
        """Renew what this process has, stop what it lost, start what is free."""
        async with self._kept_connection() as connection:
            await self._follow_definitions(connection)
            await self._look(connection)
            is_tidying = self._beats % _BEATS_TO_TIDY == 0
            self._beats += 1
            if is_tidying:
                await adjust(connection, self._projections)
            share, renewed = await self._renewed(connection)
            held = await self._shared_out(connection, renewed, share)
            if share.has_free:
                held += await self._take(connection, share, len(held))
            self._run_exactly(held)
            if is_tidying:
                await drop_superfluous(connection, self._projections)

    async def _renewed(self, connection: Connection) -> tuple[Share, list[LaneLease]]:
        """Say that this worker is here, and prolong what it has.

        A worker that was stopped in the middle of a swap keeps lanes of others locked. Whoever waited for it at a
        heartbeat would not take over its lanes, nor end its sessions; so such lanes are let go.
        """
        try:
            return await self._renew(connection, waits=True)
        except psycopg.errors.LockNotAvailable:
            log.warning("engine.lanes_are_locked")
            return await self._renew(connection, waits=False)

    async def _renew(self, connection: Connection, *, waits: bool) -> tuple[Share, list[LaneLease]]:
        async with connection.pipeline():  # one transaction: one commit
            share = await part_of(connection, self._owner, self._known, LEASE_SECONDS)
            return share, await renew(connection, self._owner, LEASE_SECONDS, waits=waits)

    async def _take(self, connection: Connection, share: Share, held: int) -> list[LaneLease]:
        """Take lanes that nobody holds, up to this worker's share, and end the sessions of whoever had them."""
        await skip_as_requested(connection)
        most = max(0, share.lanes - held)
        late = await late_owners(connection, LEASE_SECONDS)
        taken = await acquire(
            connection,
            self._owner,
            self._known,
            LEASE_SECONDS,
            most=most,
            alone=share.alone,
            is_after_crash=self._is_after_crash,
        )
        self._is_after_crash = self._is_after_crash and not taken
        late |= {lease.former_owner for lease in taken if lease.former_owner}
        await end_sessions(connection, late - {self._owner})
        return taken

    async def _follow_definitions(self, connection: Connection) -> None:
        """Have what this code defines built when it is its turn, which other workers' coming and going changes."""
        now = time.monotonic()
        if self._definitions_due is None:
            await set_lanes(connection, self._projections.values())
        elif now < self._definitions_due:
            return
        try:
            waiting = await ensure_live(connection, self._projections.values())
        except psycopg.errors.LockNotAvailable:
            return  # somebody else is at it, or was stopped at it: what follows takes that one's place
        if waiting - self._waiting:
            log.warning("projection.other_code_runs", projections=sorted(waiting - self._waiting))
        self._waiting = waiting
        self._definitions_due = now if waiting else now + _DEFINITIONS_SECONDS

    @contextlib.asynccontextmanager
    async def _kept_connection(self) -> AsyncIterator[Connection]:
        """Yield the connection that heartbeats have for themselves: hundreds of lanes stand in line for the others."""
        if self._kept is None:
            self._kept = await self._pool.getconn()
        try:
            yield self._kept
        except BaseException:
            await self._put_back()
            raise

    async def _put_back(self) -> None:
        if self._kept is not None:
            kept, self._kept = self._kept, None
            await completed(self._pool.putconn(kept))  # one that is neither here nor there stays open

    async def _shared_out(self, connection: Connection, held: list[LaneLease], share: Share) -> list[LaneLease]:
        """Give back what is more than this worker's share: first of projections of which it runs most lanes.

        Of those it keeps one, rather than all of projections that have but one.
        """
        kept = list(held)
        at_first = Counter(lease.projection for lease in held)
        lanes_of = at_first.copy()
        for _ in range(len(held) - share.lanes):
            others_know = [lease for lease in kept if lease.projection not in share.alone]
            if not others_know:
                break
            lease = max(others_know, key=lambda each: (lanes_of[each.projection], -at_first[each.projection], each.key))
            kept.remove(lease)
            lanes_of[lease.projection] -= 1
            if lease.key in self._lanes:
                _, task = self._lanes.pop(lease.key)
                await end(task)
                self._shared_log.note(lease.key, is_behind=False)
            await give_back(connection, lease)
            log.info("lane.given_back", lane=lease.key)
        return kept

    async def _look(self, connection: Connection) -> None:
        """Tell lanes what operators asked for since the last look, and of events that no notification told of."""
        before, self._due = self._due, await due(connection)
        await self._follow_history(before.epoch, self._due.epoch)
        if self._due.head != before.head:
            self.wake()
        for (projection, generation, _), (lane, _) in self._lanes.items():
            if self._due.skipped != before.skipped or f"{projection}/{generation}" in self._due.to_retry:
                lane.look_at_parked()

    async def _follow_history(self, before: str, epoch: str) -> None:
        """Begin anew where the database has the lanes, when the log has another history than at the last look.

        Rows and positions lie in the log's own database, so after a failover or a restore they are at a place that the
        new history has; only what this process remembers may be from beyond it.
        """
        if before not in {"", epoch}:
            log.warning("engine.history_changed", epoch=epoch)
            await end(*(task for _, task in self._lanes.values()))
            self._lanes.clear()
            self._shared_log.forget()

    def _start(self, lease: LaneLease) -> None:
        lane = Lane(
            self._projections[lease.projection],
            lease,
            pool=self._pool,
            shared_log=self._shared_log,
            checkpoints=self._checkpoints,
            turns=self._turns,
            poll_seconds=_POLL_SECONDS,
            on_step=self._on_step,
            children=self._children,
            helpers=self._helpers,
        )
        self._lanes[lease.key] = (lane, asyncio.create_task(lane.run(), name=f"lane {lease.key}"))
        log.info("lane.started", lane=lease.key, position=lease.position, status=lease.status)

    def _run_exactly(self, held: list[LaneLease]) -> None:
        leases = {lease.key: lease for lease in held}
        for key, (lane, task) in list(self._lanes.items()):
            if key not in leases or task.done() or not lane.is_run_under(leases[key]):
                task.cancel()
                del self._lanes[key]
                self._shared_log.note(key, is_behind=False)
                log.info("lane.stopped", lane=key)
        for key, lease in leases.items():
            if key in self._lanes:
                self._lanes[key][0].note_prolonged(lease)
            else:
                self._start(lease)

    async def _give_back(self, listener: asyncio.Task[None]) -> None:
        try:
            await end(listener, *(task for _, task in self._lanes.values()))
            await self._checkpoints.close()
            await self._shared_log.close()
        finally:
            await self._put_back()
        try:
            async with self._pool.connection() as connection:
                await release(connection, self._owner)
        except (psycopg.Error, PoolTimeout) as error:
            log.warning("engine.leases_not_given_back", error=str(error))  # they run out
