"""What holds a read model, or a tenant that asks slowly, delays its own questions, and no others."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import asynccontextmanager
from statistics import median
from uuid import uuid4

import psycopg
import pytest
from httpx import AsyncClient

from eventstore.background import end
from eventstore.bulkheads import Bulkheads, Shares
from eventstore.errors import QuestionTookTooLong, ReadersBusy, ReadModelHeld
from projections.live import LiveReadModels
from queries.ports import Question
from tests.api.problem import require_problem
from tests.builders.actors import ANN, EVE
from tests.builders.requests import ENTRIES, create_entry, read_after
from tests.projections.engines import until
from varve.pools import open_pool

LIST = "knowledge_entry_list"
TABLE = f"read_models.{LIST}_1_entries"
LIMIT = 2.0
"""How long a reader waits for a lock, in seconds."""
USUAL = 1.0
"""More than any answer takes on a machine that is busy with other tests."""
SLEEPS = "select count(*) from pg_stat_activity where wait_event = 'PgSleep' and usename = 'varve_reader'"
LOCKED = """
select distinct pid, query_start from pg_stat_activity
where wait_event_type = 'Lock' and usename = 'varve_reader' and datname = current_database()
"""
ACTIVITY = "/api/v1/activity"
PROJECTIONS = "/api/v1/admin/projections"


@asynccontextmanager
async def held(settings, table=TABLE):
    """Hold a table as ALTER and VACUUM FULL do."""
    async with (
        await psycopg.AsyncConnection.connect(settings.required_database_url()) as holder,
        holder.transaction(),
    ):
        await holder.execute(f"lock table {table} in access exclusive mode")
        yield


async def timed(awaitable: Awaitable) -> tuple[float, object]:
    began = time.monotonic()
    answer = await awaitable
    return time.monotonic() - began, answer


class Sampler:
    """The statements that were seen to wait for a lock."""

    def __init__(self, admin) -> None:
        self._admin = admin
        self.seen: set[tuple[int, object]] = set()

    async def run(self) -> None:
        while True:
            self.seen |= set(await (await self._admin.execute(LOCKED)).fetchall())
            await asyncio.sleep(0.02)


@asynccontextmanager
async def sampled(admin):
    sampler = Sampler(admin)
    task = asyncio.create_task(sampler.run())
    try:
        yield sampler
    finally:
        await end(task)


async def repeated(ask: Callable[[], Awaitable], while_: asyncio.Task) -> list[tuple[float, int]]:
    """Ask again and again until a task has ended; return how long each answer took, and its status."""
    answers = []
    while not while_.done():
        seconds, answer = await timed(ask())
        answers.append((seconds, answer.status_code))
        await asyncio.sleep(0.05)
    return answers


@pytest.mark.usefixtures("engine")
async def test_a_hundred_readers_of_a_held_model_wait_once_and_delay_no_others(
    settings, admin, ann: AsyncClient, eve: AsyncClient, otto: AsyncClient, client: AsyncClient
):
    entry = await create_entry(ann)
    assert (await ann.get(entry.url, headers=entry.seen)).status_code == 200
    async with sampled(admin) as waiting:
        async with held(settings):
            readers = asyncio.gather(
                *(timed(ann.get(ENTRIES, params={"text": f"layer {number}"})) for number in range(60)),
                *(timed(eve.get(ENTRIES, params={"text": f"layer {number}"})) for number in range(20)),
                *(timed(ann.get(f"{ENTRIES}/{uuid4()}")) for _ in range(20)),
            )
            others = await asyncio.gather(
                repeated(lambda: ann.get(ACTIVITY, params={"user": "ann"}), readers),
                repeated(lambda: eve.get(ACTIVITY, params={"user": "eve"}), readers),
                repeated(lambda: otto.get(PROJECTIONS), readers),
                repeated(lambda: client.get("/health/ready"), readers),
            )
            for seconds, answer in await readers:
                require_problem(answer, 503, "read-model-held")
                assert int(answer.headers["Retry-After"]) >= 1
                assert seconds < 2.5 * LIMIT
            first = len(waiting.seen)
            again = [await timed(ann.get(ENTRIES, params={"text": f"clay {number}"})) for number in range(10)]
            assert {answer.status_code for _, answer in again} == {503}
            assert sum(seconds for seconds, _ in again) < LIMIT, "none of them waits any more, but for a probe"
        for answers in others:
            assert {status for _, status in answers} == {200}
            assert max(seconds for seconds, _ in answers) < LIMIT
            assert median(seconds for seconds, _ in answers) < USUAL / 2
            assert len(answers) > 5
        assert 0 < first <= Shares.of(12).model, "what waited for the lock was not asked again"

        async def is_read() -> bool:
            return (await ann.get(ENTRIES, params={"text": "Sediment"})).status_code == 200

        await until(is_read, "the model is read again")


async def test_a_search_goes_on_with_the_leg_that_is_free(settings, engine, ann: AsyncClient):
    written = await ann.post(ENTRIES, json={"name": "Sediment"})
    assert (await read_after(ann, "/api/v1/search", written, q="Sediment", mode="text")).status_code == 200
    async with held(settings, "read_models.search_text_1_chunks"):
        first, answer = await timed(ann.get("/api/v1/search", params={"q": "Sediment"}))
        second, again = await timed(ann.get("/api/v1/search", params={"q": "clay"}))
    assert (answer.status_code, again.status_code) == (200, 200)
    assert answer.json()["degraded"] == again.json()["degraded"] == ["text"]
    assert first < 2.5 * LIMIT
    assert second < USUAL


async def test_a_tenant_with_slow_questions_has_no_more_than_half_of_a_pool(settings, admin):
    slowly = Question((LIST,), f"select count(*), pg_sleep(0.4) from {{{LIST}.tags}}")
    other = Question(("user_activity",), "select count(*), pg_sleep(0.4) from {user_activity.activities}")
    quick = Question((LIST,), f"select count(*) from {{{LIST}.tags}}")
    most = 0
    async with open_pool(settings, "varve_reader", 8) as pool:
        models = LiveReadModels(pool)
        await models.read(EVE, quick)
        asked = [asyncio.create_task(models.read(ANN, each)) for each in [slowly, other] * 8]
        while not all(task.done() for task in asked):
            (sleeping,) = await (await admin.execute(SLEEPS)).fetchone()
            most = max(most, sleeping)
            seconds, _ = await timed(models.read(EVE, quick))
            assert seconds < 0.4
            await asyncio.sleep(0.01)
        results = await asyncio.gather(*asked, return_exceptions=True)
    assert 2 <= most <= 4
    assert {type(each) for each in results if isinstance(each, Exception)} <= {ReadersBusy}


async def test_what_took_too_long_is_not_asked_again(settings):
    slow = Question((LIST,), f"select pg_sleep(20), count(*) from {{{LIST}.tags}}", {}, {"statement_timeout": "300ms"})
    async with open_pool(settings, "varve_reader", 2) as pool:
        models = LiveReadModels(pool)
        await models.read(ANN, Question((LIST,), f"select from {{{LIST}.tags}}"))
        began = time.monotonic()
        before = pool.get_stats()["requests_num"]
        with pytest.raises(QuestionTookTooLong):
            await models.read(ANN, slow)
        assert pool.get_stats()["requests_num"] - before == 1
    assert time.monotonic() - began < 2


async def test_questions_that_were_gathered_wait_for_a_lock_together_and_once(settings):
    by_key = Question((LIST,), f"select tag from {{{LIST}.tags}} where tag = %(tag)s", {"tag": "a"}, is_by_key=True)
    async with open_pool(settings, "varve_reader", 8) as pool:
        models = LiveReadModels(pool)
        await models.read(ANN, by_key)
        before = pool.get_stats()["requests_num"]
        async with held(settings, f"read_models.{LIST}_1_tags"):
            questions = [Question((LIST,), by_key.sql, {"tag": f"t{n}"}, is_by_key=True) for n in range(100)]
            seconds, answers = await timed(
                asyncio.gather(*(models.read(ANN, each) for each in questions), return_exceptions=True)
            )
        asked = pool.get_stats()["requests_num"] - before
    assert {type(each) for each in answers} == {ReadModelHeld}
    assert seconds < 2.5 * LIMIT
    assert asked <= Shares.of(8).model


async def test_shares_leave_something_for_others(settings):
    for connections in range(2, 40):
        shares = Shares.of(connections)
        assert shares.tenant <= max(1, connections // 2)
        assert 1 <= shares.tenant_of_model <= shares.model <= shares.models <= shares.total < connections


async def test_places_go_in_turn_to_tenants_and_none_is_lost(settings):
    async with open_pool(settings, "varve_reader", 8) as pool:
        bulkheads = Bulkheads(pool, wait_seconds=0.2)
        order: list[str] = []

        async def ask(tenant: str) -> None:
            await bulkheads.enter(tenant, (LIST,))
            order.append(tenant)
            await asyncio.sleep(0.01)
            bulkheads.leave(tenant, (LIST,))

        many = [asyncio.create_task(ask("acme")) for _ in range(20)]
        await asyncio.sleep(0)
        await ask("umbra")
        await asyncio.gather(*many)
        assert order.index("umbra") < 6
        for _ in range(Shares.of(8).tenant_of_model):
            await bulkheads.enter("acme", (LIST,))
        with pytest.raises(ReadersBusy):
            await bulkheads.enter("acme", (LIST,))
        given_up = asyncio.create_task(bulkheads.enter("acme", (LIST,)))
        await asyncio.sleep(0)
        given_up.cancel()
        await asyncio.gather(given_up, return_exceptions=True)
        for _ in range(Shares.of(8).tenant_of_model):
            bulkheads.leave("acme", (LIST,))
        assert not any((bulkheads._total, bulkheads._tenants, bulkheads._models, bulkheads._kinds, bulkheads._waiting))


async def test_one_that_gives_up_as_its_place_comes_gives_it_back(settings):
    async with open_pool(settings, "varve_reader", 8) as pool:
        bulkheads = Bulkheads(pool)
        share = Shares.of(8).tenant_of_model
        for _ in range(share):
            await bulkheads.enter("acme", (LIST,))
        waiting = asyncio.create_task(bulkheads.enter("acme", (LIST,)))
        await asyncio.sleep(0)
        bulkheads.leave("acme", (LIST,))
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        async with asyncio.timeout(0.5):
            await bulkheads.enter("acme", (LIST,))


async def test_those_of_one_tenant_that_wait_are_refused_before_they_keep_out_anothers(settings):
    async with open_pool(settings, "varve_reader", 8) as pool:
        bulkheads = Bulkheads(pool, wait_seconds=0.5)
        asked = [asyncio.create_task(bulkheads.enter("acme", (LIST,))) for _ in range(600)]
        await asyncio.sleep(0)
        refused = [task for task in asked if task.done() and task.exception() is not None]
        assert len(refused) == 600 - 500 - Shares.of(8).tenant_of_model
        for _ in range(Shares.of(8).model - Shares.of(8).tenant_of_model + 1):
            other = asyncio.create_task(bulkheads.enter("umbra", (LIST,)))
            await asyncio.sleep(0)
            assert not (other.done() and other.exception())
        await asyncio.gather(*asked, other, return_exceptions=True)
        assert not bulkheads._number_waiting
