"""The child of a projection worker: runs a part of one lane, within limits, and may die of it."""

import asyncio
import functools
import os
import signal
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace

from eventstore.log import LogReader
from projections.checkpoints import Checkpoints
from projections.definition import Projection
from projections.isolation import Order
from projections.lane import Lane
from projections.leases import checkpoint_of
from projections.shared_log import SharedLog
from varve import telemetry
from varve.bootstrap import event_types, open_texts, projections_of
from varve.pools import open_pool
from varve.settings import Settings
from workers.lane_children import StageWriter, Target
from workers.process_limits import die_with, limit_memory, volunteer_for_the_kernel

_CONNECTIONS = 2
_SCORE = 900

OpenProjections = Callable[[Settings], AbstractAsyncContextManager[Sequence[Projection]]]


@asynccontextmanager
async def registered(settings: Settings) -> AsyncIterator[Sequence[Projection]]:
    """Open the projections of the registry; nothing is woken: who is waited for looks by itself, too."""
    async with open_texts(settings) as texts:
        yield projections_of(settings, texts, lambda: None)


def target_of(settings: Settings, opening: OpenProjections = registered) -> Target:
    """Return what a child does; `opening` is a function that another process can import."""
    return functools.partial(run_order, settings, opening)


def run_order(settings: Settings, opening: OpenProjections, order: Order, name: str, descriptor: int) -> None:
    """Run `order` in this process, and write its stages and its end to `descriptor`.

    Raises:
        MemoryError: it needs more than it may have.
    """
    die_with(os.getppid(), signal.SIGKILL)
    limit_memory(settings.isolated_memory_megabytes)
    volunteer_for_the_kernel(_SCORE)
    telemetry.set_up(settings, "varve-lane")
    stages = StageWriter(descriptor)
    asyncio.run(_run(settings, opening, order, name, stages))


async def _run(settings: Settings, opening: OpenProjections, order: Order, name: str, stages: StageWriter) -> None:
    async with (
        open_pool(settings, "varve_projector", _CONNECTIONS, application_name=name) as pool,
        opening(settings) as projections,
    ):
        (projection,) = (each for each in projections if order.lease.projection == each.NAME)
        async with pool.connection() as connection:
            position = await checkpoint_of(connection, order.lease)  # the lease is as the last heartbeat saw it
        lane = Lane(
            projection,
            replace(order.lease, position=position),
            pool=pool,
            shared_log=SharedLog(pool, LogReader(event_types()), order.window),
            checkpoints=Checkpoints(pool),
            turns=asyncio.Semaphore(1),
            poll_seconds=1.0,
            on_step=lambda _: None,
            note_stage=stages.note,
        )
        stages.end(await lane.run_alone(order.to, fills=order.fills))
