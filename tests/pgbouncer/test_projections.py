"""Projections through PgBouncer: every event once, lanes taken over, sessions of a stopped worker ended."""

import asyncio
import os
import signal
import time

from projections.knowledge.entry_list import KnowledgeEntryListView
from tests.fixtures.engine import running
from tests.pgbouncer.server import SERVER_CONNECTIONS
from tests.projections.comparing import stored_tables
from tests.projections.counting import Counted, Listed, Paused, counts, positions
from tests.projections.engines import engine_of, lane_of, lanes, leased, until, until_caught_up
from tests.projections.sending import create, create_many
from tests.projections.test_lanes import TAKEOVER_SECONDS, held_by_one, worker_process
from varve.pools import open_pool

STOPPED = "host:1:a worker that is stopped"
PROJECTORS = """
select count(*) filter (where query not like 'listen%') from pg_stat_activity
where usename = 'varve_projector' and datname = current_database()
"""


async def test_engines_on_few_sessions_apply_every_event_once(settings, platform, admin):
    sessions = 0
    async with (
        engine_of(settings, [Counted(), Listed()], window_size=7),
        engine_of(settings, [Counted(), Listed(), KnowledgeEntryListView()], window_size=7),
    ):
        for _ in range(10):
            await create_many(platform, 20)
            (found,) = await (await admin.execute(PROJECTORS)).fetchone()
            sessions = max(sessions, found)
        await until_caught_up(admin, ["counted", "listed", "knowledge_entry_list"])
    assert await counts(admin, "counted") == {"acme": 200}
    (listed,) = (await positions(admin, "listed")).values()
    assert listed == list(range(1, 201))
    assert 0 < sessions <= SERVER_CONNECTIONS


async def test_the_lanes_of_a_worker_that_was_killed_are_taken_over_in_time(settings, admin, platform):
    async with worker_process(settings) as process:
        await until(lambda: held_by_one(admin), "the worker holds every lane")
        async with engine_of(settings, [KnowledgeEntryListView()]):
            await create(platform)
            os.kill(process.pid, signal.SIGKILL)
            await process.wait()
            ended = time.monotonic()
            await create(platform)
            await until_caught_up(admin, ["knowledge_entry_list"])
            seconds = time.monotonic() - ended
    assert seconds < TAKEOVER_SECONDS
    assert len((await stored_tables(admin, KnowledgeEntryListView(), 1))["entries"]) == 2


async def test_a_worker_that_stopped_in_a_transaction_loses_its_session_with_its_lane(settings, platform, admin):
    paused = Paused(after_writing=True)
    async with engine_of(settings, [paused]):
        await until_caught_up(admin, ["paused"])
    await create_many(platform, 5)
    async with open_pool(settings, "varve_projector", 2, application_name=STOPPED) as pool:
        lease = await leased(pool, paused, STOPPED, 0.2)
        lane = lane_of(paused, lease, pool)
        async with running(lane.run()) as task:
            await paused.has_stopped.wait()  # with rows that it has written and not committed
            began = time.monotonic()
            other = Counted()
            other.NAME = "paused"  # type: ignore[misc]  # the same projection, in a worker that does not pause
            async with engine_of(settings, [other]):
                await until_caught_up(admin, ["paused"])
                assert time.monotonic() - began < TAKEOVER_SECONDS
                assert await counts(admin, "paused") == {"acme": 5}
                paused.may_go_on.set()
                async with asyncio.timeout(10):
                    await task  # it ends by itself: the lease is lost
    assert await counts(admin, "paused") == {"acme": 5}
    assert (await lanes(admin, "paused"))[0]["fence"] > lease.fence
