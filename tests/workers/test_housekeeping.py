"""What has served its time goes, and nothing else, even while somebody's snapshot keeps what went before."""

import asyncio

import pytest

from varve.bootstrap import open_blobs
from varve.pools import open_pool
from workers.housekeeping import Housekeeping

ADD = """
insert into varve.idempotency (tenant, actor, key, fingerprint, command_id, expires_at)
select 'acme', 'ann', %s || number, '', gen_random_uuid(), clock_timestamp() + make_interval(secs => %s)
from generate_series(1, %s) as number
"""


@pytest.fixture
async def housekeeping(settings):
    async with open_pool(settings, "varve_projector", 1) as pool:
        yield Housekeeping(pool, open_blobs(settings), search_record_days=30)


async def keys(admin):
    cursor = await admin.execute("select key from varve.idempotency order by key")
    return [row[0] for row in await cursor.fetchall()]


async def test_only_keys_that_have_expired_go(housekeeping, admin):
    await admin.execute(ADD, ("old ", -1, 2_500))
    await admin.execute(ADD, ("new ", 60, 2))
    await housekeeping.clear_once()
    assert await keys(admin) == ["new 1", "new 2"]


async def test_keys_go_in_time_though_the_table_was_thought_to_be_empty(housekeeping, admin, held_snapshot):
    """A plan for an empty table once compared each of these keys with all that were kept: for half a minute."""
    await admin.execute(ADD, ("old ", -1, 45_000))
    await admin.execute("delete from varve.idempotency")
    await admin.execute("vacuum analyze varve.idempotency")
    await admin.execute(ADD, ("new ", -1, 9_000))
    async with asyncio.timeout(5):
        await housekeeping.clear_once()
    assert await keys(admin) == []


ADD_SEARCHES = """
insert into varve.search_records
    (tenant, searched_at, query_hash, mode, milliseconds, hits, is_cached, sample_rate)
select 'acme', clock_timestamp() - make_interval(days => %s), '', 'text', 1, 1, false, 1 from generate_series(1, %s)
"""


async def test_records_of_searches_go_when_they_are_old(housekeeping, admin):
    await admin.execute(ADD_SEARCHES, (31, 2_500))
    await admin.execute(ADD_SEARCHES, (29, 2))
    await housekeeping.clear_once()
    cursor = await admin.execute(
        "select count(*), min(searched_at) > now() - interval '30 days' from varve.search_records"
    )
    assert await cursor.fetchone() == (2, True)
