"""Runs the lanes that this process has leases for: one subscription, one reading of the log, many lanes."""

import asyncio
import contextlib
from collections import Counter
from collections.abc import Iterable
from typing import Any

import psycopg
import structlog
from psycopg_pool import AsyncConnectionPool, PoolTimeout

from eventstore.background import end
from eventstore.epochs import check_epoch
from eventstore.log import LogReader
from eventstore.wake import CHANNEL, WakeListener
from projections.checkpoints import Checkpoints
from projections.definition import Connection, Projection
from projections.generations import drop_superfluous, ensure_live
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
    part_of,
    release,
    renew,
)
from projections.parking import Due, due
from projections.shared_log import SharedLog

log = structlog.get_logger()

LEASE_SECONDS = 3.0
"""A dead worker's lanes are taken over after this time and one round of `_HEARTBEAT_SECONDS`."""
_HEARTBEAT_SECONDS = 0.75
_POLL_SECONDS = 15.0
"""Notifications and heartbeats wake lanes; they look by themselves in case both were lost."""
_WINDOW = 1000


class Engine:
    """Acquires lanes, runs them, and gives them back.

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
    ) -> None:
        self._projections = {projection.NAME: projection for projection in projections}
        definitions = {name: projection.definition() for name, projection in self._projections.items()}
        self._known = Known(definitions, reader.class_versions)
        self._pool = pool
        self._shared_log = SharedLog(pool, reader, window_size)
        self._checkpoints = Checkpoints(pool)
        self._listener = WakeListener(listen_url, self.wake, CHANNEL)
        self._owner = owner
        self._on_step = on_step
        self._lanes: dict[LaneKey, tuple[Lane, asyncio.Task[None]]] = {}
        self._due = Due()
        self._is_prepared = False
        self._epoch = ""

    def wake(self) -> None:
        """Look at the log now."""
        self._shared_log.forget_unfinished()
        for lane, _ in self._lanes.values():
            lane.wake()

    async def run(self) -> None:
        """Run until cancelled, then give the leases back."""
        listener = asyncio.create_task(self._listener.run())
        try:
            while True:
                try:
                    await self._hold_lanes()
                except (psycopg.Error, PoolTimeout) as error:
                    log.warning("engine.database_lost", error=str(error))
                await asyncio.sleep(_HEARTBEAT_SECONDS)
        finally:
            await end(listener)
            await self._give_back()

    async def _hold_lanes(self) -> None:
        """Renew what this process has, stop what it lost, start what is free."""
        async with self._pool.connection() as connection:
            if not self._is_prepared:
                await ensure_live(connection, self._projections.values())
                self._is_prepared = True
            await self._follow_history(await check_epoch(connection))
            await adjust(connection, self._projections)
            share = await part_of(connection, self._owner, self._known, LEASE_SECONDS)
            held = await self._shared_out(connection, await renew(connection, self._owner, LEASE_SECONDS), share)
            most = max(0, share.lanes - len(held))
            taken = await acquire(connection, self._owner, self._known, LEASE_SECONDS, most=most, alone=share.alone)
            await end_sessions(
                connection, {lease.former_owner for lease in taken if lease.former_owner} - {self._owner}
            )
            held += taken
            self._run_exactly(held)
            await self._look(connection)
            await drop_superfluous(connection, self._projections)

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
            await give_back(connection, lease)
            log.info("lane.given_back", lane=lease.key)
        return kept

    async def _look(self, connection: Connection) -> None:
        """Tell lanes what operators asked for since the last look, and of events that no notification told of."""
        before, self._due = self._due, await due(connection)
        if self._due.head != before.head:
            self.wake()
        for (projection, generation, _), (lane, _) in self._lanes.items():
            if self._due.skipped != before.skipped or f"{projection}/{generation}" in self._due.to_retry:
                lane.look_at_parked()

    async def _follow_history(self, epoch: str) -> None:
        """Begin anew where the database has the lanes, when the log has another history than at the last look.

        Rows and positions lie in the log's own database, so after a failover or a restore they are at a place that the
        new history has; only what this process remembers may be from beyond it.
        """
        if self._epoch not in {"", epoch}:
            log.warning("engine.history_changed", epoch=epoch)
            await end(*(task for _, task in self._lanes.values()))
            self._lanes.clear()
            self._shared_log.forget()
        self._epoch = epoch

    def _start(self, lease: LaneLease) -> None:
        lane = Lane(
            self._projections[lease.projection],
            lease,
            pool=self._pool,
            shared_log=self._shared_log,
            checkpoints=self._checkpoints,
            poll_seconds=_POLL_SECONDS,
            on_step=self._on_step,
        )
        self._lanes[lease.key] = (lane, asyncio.create_task(lane.run(), name=f"lane {lease.key}"))
        log.info("lane.started", lane=lease.key, position=lease.position, status=lease.status)

    def _run_exactly(self, held: list[LaneLease]) -> None:
        leases = {lease.key: lease for lease in held}
        for key, (lane, task) in list(self._lanes.items()):
            if key not in leases or task.done() or not lane.is_run_under(leases[key]):
                task.cancel()
                del self._lanes[key]
                log.info("lane.stopped", lane=key)
        for key, lease in leases.items():
            if key in self._lanes:
                self._lanes[key][0].note_prolonged(lease)
            else:
                self._start(lease)

    async def _give_back(self) -> None:
        await end(*(task for _, task in self._lanes.values()))
        await self._checkpoints.close()
        await self._shared_log.close()
        with contextlib.suppress(psycopg.Error, PoolTimeout):
            async with self._pool.connection() as connection:
                await release(connection, self._owner)
