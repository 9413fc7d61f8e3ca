"""Engines with projections of the tests' choosing, and what PostgreSQL says of their lanes."""

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import psycopg
from psycopg.rows import dict_row
from psycopg_pool import AsyncConnectionPool

from eventstore.log import LogReader
from eventstore.mapper import EventTypes
from projections.checkpoints import Checkpoints
from projections.definition import Projection
from projections.engine import Engine
from projections.lane import Lane
from projections.leases import Known, LaneLease, acquire
from projections.shared_log import SharedLog
from tests.fixtures.engine import running
from varve.bootstrap import event_types
from varve.pools import open_pool
from varve.settings import Settings
from workers.lane_children import ForkedLaneChildren, Target

Connection = psycopg.AsyncConnection[Any]

CONNECTIONS = 8
"""Of an engine's pool."""
_SECONDS = 30.0
_owners = itertools.count(1)


@asynccontextmanager
async def engine_of(
    settings: Settings,
    projections: Iterable[Projection],
    *,
    window_size: int = 1000,
    on_step: Callable[[str], None] = lambda _: None,
    known: EventTypes | None = None,
    child_target: Target | None = None,
) -> AsyncIterator[str]:
    """Run an engine of these projections alone, which gives its leases back at the end; yield its name.

    `known` are the events that its code knows, all by default. `child_target` is what children do, if it has any.
    """
    owner = f"engine {next(_owners)}"
    async with open_pool(settings, "varve_projector", CONNECTIONS) as pool:
        engine = Engine(
            projections,
            pool=pool,
            reader=LogReader(known or event_types()),
            listen_url=settings.role_url("varve_projector"),
            owner=owner,
            window_size=window_size,
            on_step=on_step,
            children=None if child_target is None else ForkedLaneChildren(child_target, owner, pool),
        )
        async with running(engine.run()):
            yield owner


async def leased(pool: AsyncConnectionPool[Any], projection: Projection, owner: str, seconds: float) -> LaneLease:
    """Take the one lane of `projection` for a worker that is not an engine."""
    known = Known({projection.NAME: projection.definition()}, LogReader(event_types()).class_versions)
    async with pool.connection() as connection:
        (lease,) = await acquire(connection, owner, known, seconds)
    return lease


def lane_of(
    projection: Projection, lease: LaneLease, pool: AsyncConnectionPool[Any], shared_log: SharedLog | None = None
) -> Lane:
    """Return a lane that runs without an engine: nobody prolongs its lease."""
    return Lane(
        projection,
        lease,
        pool=pool,
        shared_log=shared_log or SharedLog(pool, LogReader(event_types()), 100),
        checkpoints=Checkpoints(pool),
        turns=asyncio.Semaphore(1),
        poll_seconds=0.1,
        on_step=lambda _: None,
    )


async def lanes(admin: Connection, *projections: str) -> list[dict[str, Any]]:
    """Return the lanes of `projections`, oldest generation first, with the status of their generations."""
    cursor = admin.cursor(row_factory=dict_row)
    await cursor.execute(
        "select l.*, g.status from varve.lanes l join varve.generations g using (projection, generation) "
        "where l.projection = any (%s) order by l.projection, l.generation, l.first_slot",
        (list(projections),),
    )
    return await cursor.fetchall()


async def until(condition: Callable[[], Any], what: str, seconds: float = _SECONDS) -> None:
    """Wait until the coroutine that `condition` makes returns something true."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            while not await condition():  # noqa: ASYNC110 - what is waited for stands in PostgreSQL
                await asyncio.sleep(0.01)
            return
    raise TimeoutError(f"never came true: {what}")


async def until_caught_up(admin: Connection, projections: Sequence[str], seconds: float = _SECONDS) -> None:
    """Wait until the live lanes of `projections` have reached the head of the log."""

    async def caught_up() -> bool:
        live = [lane for lane in await lanes(admin, *projections) if lane["status"] == "live"]
        (head,) = await (await admin.execute("select varve.head()")).fetchone() or (0,)
        known = {lane["projection"] for lane in live}
        return known == set(projections) and all(lane["position"] >= head for lane in live)

    await until(caught_up, f"{', '.join(projections)} at the head of the log", seconds)


async def live_generation(admin: Connection, projection: str) -> int:
    """Return the number of the generation that is read, 0 when there is none."""
    live = {lane["generation"] for lane in await lanes(admin, projection) if lane["status"] == "live"}
    return max(live, default=0)


async def until_live(admin: Connection, projection: str, generation: int, seconds: float = _SECONDS) -> None:
    """Wait until `generation` of the projection is the one that is read."""

    async def is_live() -> bool:
        return await live_generation(admin, projection) == generation

    await until(is_live, f"generation {generation} of {projection} is live", seconds)
