"""A PgBouncer that knows no prepared statements: the same tests, where Varve prepares none."""

import pytest

from tests.journeys.conftest import setting_overrides, system
from tests.pgbouncer.test_journey import test_a_client_finds_what_it_wrote_in_lists_searches_and_histories
from tests.pgbouncer.test_projections import test_engines_on_few_sessions_apply_every_event_once
from tests.pgbouncer.test_restarts import test_a_subscription_through_restarts_loses_and_repeats_nothing
from tests.pgbouncer.test_tenants import test_no_answer_ever_holds_another_tenants_row
from varve.pools import open_pool

__all__ = [
    "setting_overrides",
    "system",
    "test_a_client_finds_what_it_wrote_in_lists_searches_and_histories",
    "test_a_subscription_through_restarts_loses_and_repeats_nothing",
    "test_engines_on_few_sessions_apply_every_event_once",
    "test_no_answer_ever_holds_another_tenants_row",
]


@pytest.fixture
def prepared_statements() -> int:
    return 0


async def test_nothing_is_prepared(settings):
    async with open_pool(settings, "varve_reader", 1) as pool, pool.connection() as connection:
        for number in range(10):
            await connection.execute("select %s::integer", (number,), prepare=True)
        kept = await connection.execute("select count(*) from pg_prepared_statements")
        assert await kept.fetchone() == (0,)
