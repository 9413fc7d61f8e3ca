"""Which lanes the next worker suspects: those that stood still while their worker was lost."""

from collections.abc import AsyncIterator

import pytest

from eventstore.log import LogReader
from projections.generations import ensure_live
from projections.leases import Known, acquire, advance, renew
from tests.projections.counting import named
from tests.projections.sending import create
from varve.bootstrap import event_types

ONE = named("one")
KNOWN = Known({ONE.NAME: ONE.definition()}, LogReader(event_types()).class_versions)


class Workers:
    """Takes the lane of `one` for workers, and lets their leases run out."""

    def __init__(self, connection) -> None:
        self._connection = connection

    async def take(self, owner: str, **more: bool):
        (lease,) = await acquire(self._connection, owner, KNOWN, 60, **more)
        return lease

    async def lose(self) -> None:
        await self._connection.execute("update varve.leases set leased_until = clock_timestamp() - interval '1 s'")

    async def give_back(self) -> None:
        await self._connection.execute("update varve.leases set leased_until = null, owner = null")

    async def move(self, lease) -> None:
        await advance(self._connection, lease, 0, 1)


@pytest.fixture
async def workers(platform, projector_pool) -> AsyncIterator[Workers]:
    await create(platform, "an event")
    async with projector_pool.connection() as connection:
        await ensure_live(connection, [ONE])
        yield Workers(connection)


async def test_a_lane_that_nobody_had_is_not_suspected(workers):
    assert (await workers.take("first")).losses == 0


async def test_each_lost_worker_counts_while_the_lane_stands(workers):
    for losses, owner in enumerate(["first", "second", "third"]):
        assert (await workers.take(owner)).losses == losses
        await workers.lose()


async def test_a_lane_that_was_given_back_is_not_suspected(workers):
    await workers.take("first")
    await workers.give_back()
    assert (await workers.take("second")).losses == 0


async def test_a_worker_that_lost_the_database_for_a_while_does_not_suspect_its_own_lane(workers):
    await workers.take("first")
    await workers.lose()
    assert (await workers.take("first")).losses == 0


async def test_a_lane_that_moved_since_the_last_heartbeat_is_suspected_after_a_crash_alone(workers):
    await workers.move(await workers.take("first"))
    await workers.lose()
    assert (await workers.take("second")).losses == 0
    await workers.lose()
    assert (await workers.take("third", is_after_crash=True)).losses == 1


async def test_a_lane_that_stands_where_the_last_heartbeat_saw_it_is_suspected(workers, projector_pool):
    await workers.move(await workers.take("first"))
    async with projector_pool.connection() as connection:
        await renew(connection, "first", 60, waits=False)
    await workers.lose()
    assert (await workers.take("second")).losses == 1
