"""Runs the lanes that this process has leases for: one subscription, one reading of the log, many lanes."""

import asyncio
import contextlib
from collections.abc import Iterable
from typing import Any

import psycopg
import structlog
from psycopg_pool import AsyncConnectionPool, PoolTimeout

from eventstore.background import end
from eventstore.epochs import check_epoch
from eventstore.log import LogReader
from eventstore.wake import CHANNEL, WakeListener
from projections.definition import Projection
from projections.generations import drop_superfluous, ensure_live
from projections.lane import Lane, Step
from projections.leases import LaneLease, acquire, end_sessions, release, renew
from projections.shared_log import SharedLog

log = structlog.get_logger()

LEASE_SECONDS = 3.0
"""A dead worker's lanes are taken over after this time and one round of `_HEARTBEAT_SECONDS`."""
_HEARTBEAT_SECONDS = 0.75
_POLL_SECONDS = 1.0
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
        self._definitions = {name: projection.definition() for name, projection in self._projections.items()}
        self._pool = pool
        self._shared_log = SharedLog(pool, reader, window_size)
        self._listener = WakeListener(listen_url, self.wake, CHANNEL)
        self._owner = owner
        self._on_step = on_step
        self._lanes: dict[tuple[str, int, int], tuple[Lane, asyncio.Task[None]]] = {}
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
            held = await renew(connection, self._owner, LEASE_SECONDS)
            taken = await acquire(connection, self._owner, self._definitions, LEASE_SECONDS)
            await end_sessions(
                connection, {lease.former_owner for lease in taken if lease.former_owner} - {self._owner}
            )
            held += taken
            self._run_exactly(held)
            await drop_superfluous(connection, self._projections)

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
            if key not in self._lanes:
                self._start(lease)

    async def _give_back(self) -> None:
        await end(*(task for _, task in self._lanes.values()))
        await self._shared_log.close()
        with contextlib.suppress(psycopg.Error, PoolTimeout):
            async with self._pool.connection() as connection:
                await release(connection, self._owner)
