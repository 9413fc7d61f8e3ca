"""Folds the log by lanes that no engine runs: one step of one of them after another, in the order that chance decides.

It is the engine's own path, from the stored bytes to the checkpoint, and the same seed takes the same way.
"""

import asyncio
from copy import copy
from random import Random
from typing import Any

from psycopg_pool import AsyncConnectionPool

from eventstore.log import LogReader
from eventstore.log import head as head_of
from eventstore.log_filter import LogFilter
from projections.checkpoints import Checkpoints
from projections.definition import NotReadyError, Projection
from projections.generations import ensure_live, start_rebuild
from projections.lane import Lane
from projections.leases import Known, LaneLease, acquire
from projections.shared_log import SharedLog, SharedWindow
from varve.bootstrap import event_types

_LEASE_SECONDS = 60
_NOT_READY_SECONDS = 0.01

Pool = AsyncConnectionPool[Any]


def variant(projection: Projection, suffix: str, **attributes: int) -> Projection:
    """Return the projection under a name of its own, with other `attributes` than its class."""
    other = copy(projection)
    vars(other).update(attributes, NAME=f"{projection.NAME}_{suffix}")
    return other


async def fold(pool: Pool, projection: Projection, *, seed: int, most: int) -> None:
    """Apply the whole log to the live generation of `projection`, in windows of one to `most` events."""
    async with pool.connection() as connection:
        await ensure_live(connection, [projection])
    await _run(pool, projection, Random(seed), most)  # noqa: S311 - an order, not a secret


async def refold(pool: Pool, projection: Projection, *, seed: int, most: int) -> None:
    """Rebuild `projection`, in bulk where it can be, and have the new generation swapped in."""
    async with pool.connection() as connection:
        assert await start_rebuild(connection, projection) is not None
    await _run(pool, projection, Random(seed), most)  # noqa: S311 - an order, not a secret


async def _run(pool: Pool, projection: Projection, chance: Random, most: int) -> None:
    reader = LogReader(event_types())
    known = Known({projection.NAME: projection.definition()}, reader.class_versions)
    async with pool.connection() as connection:
        head = await head_of(connection)
        leases = await acquire(connection, "folding", known, _LEASE_SECONDS)
    lanes = [_lane(pool, projection, lease, _Windows(pool, reader, chance, most)) for lease in leases]
    while behind := [lane for lane in lanes if lane._position < head or lane._is_building]:
        try:
            await chance.choice(behind)._step()
        except NotReadyError:
            await asyncio.sleep(_NOT_READY_SECONDS)


def _lane(pool: Pool, projection: Projection, lease: LaneLease, windows: SharedLog) -> Lane:
    return Lane(
        projection,
        lease,
        pool=pool,
        shared_log=windows,
        checkpoints=Checkpoints(pool),
        turns=asyncio.Semaphore(1),
        poll_seconds=1,
        on_step=lambda _: None,
    )


class _Windows(SharedLog):
    """Windows of any size."""

    def __init__(self, pool: Pool, reader: LogReader, chance: Random, most: int) -> None:
        super().__init__(pool, reader, most)
        self._chance = chance
        self._most = most

    async def window(self, after: int, wanted: LogFilter) -> SharedWindow:
        self._window_size = self._chance.randint(1, self._most)
        return await super().window(after, wanted)
