"""Pending work: claimed once, renewed, given back, tried again; a dead worker's is found by the next one."""

import asyncio

import psycopg
import pytest

from tests.fixtures.engine import running
from varve.pools import open_pool
from workers import jobs
from workers.jobs import JobRunner

KIND = "dig"
ADD = "insert into varve.jobs (tenant, kind, reference, position, payload) values ('acme', %s, %s, %s, '{}')"
SECONDS = 15


@pytest.fixture
async def pool(settings):
    async with open_pool(settings, "varve_projector", 8) as opened:
        yield opened


class Digging:
    """A handler that keeps what it was given, and waits until it may end."""

    def __init__(self, *, may_end=True):
        self.begun = []
        self.ended = []
        self.most_at_once = 0
        self.may_end = asyncio.Event()
        if may_end:
            self.may_end.set()

    async def handle(self, job):
        self.begun.append(job)
        self.most_at_once = max(self.most_at_once, len(self.begun) - len(self.ended))
        await self.may_end.wait()
        await asyncio.sleep(0.002)
        self.ended.append(job)


async def add(admin, *references, kind=KIND, position=1):
    for reference in references:
        await admin.execute(ADD, (kind, reference, position))


async def pending(admin):
    cursor = await admin.execute("select reference, attempts, leased_until is not null from varve.jobs order by 1")
    return await cursor.fetchall()


async def until(condition):
    async with asyncio.timeout(SECONDS):
        while not condition():  # noqa: ASYNC110 - the handler's list has no event of its own
            await asyncio.sleep(0.01)


async def until_none_is_pending(admin, *runners):
    async with asyncio.timeout(SECONDS):
        while await pending(admin):
            for runner in runners:
                runner.wake()
            await asyncio.sleep(0.01)


async def test_two_workers_never_run_the_same_row(admin, pool):
    await add(admin, *(f"hole {number:02}" for number in range(40)))
    digging = Digging()
    first, second = (JobRunner(KIND, digging.handle, pool=pool, concurrency=4) for _ in range(2))
    async with running(first.run()), running(second.run()):
        await until_none_is_pending(admin, first, second)
    assert sorted(job.reference for job in digging.ended) == [f"hole {number:02}" for number in range(40)]
    assert digging.most_at_once <= 8
    assert {job.attempts for job in digging.ended} == {1}


async def test_no_more_rows_are_claimed_than_run_at_once(admin, pool):
    await add(admin, "a", "b", "c", "d", "e")
    digging = Digging(may_end=False)
    runner = JobRunner(KIND, digging.handle, pool=pool, concurrency=2)
    async with running(runner.run()):
        await until(lambda: len(digging.begun) == 2)
        assert sorted(is_claimed for _, _, is_claimed in await pending(admin)) == [False, False, False, True, True]
        digging.may_end.set()
        await until_none_is_pending(admin)


async def test_rows_are_found_without_any_message(admin, pool):
    digging = Digging()
    async with running(JobRunner(KIND, digging.handle, pool=pool, concurrency=1).run()):
        await asyncio.sleep(0.1)
        await add(admin, "hole")
        await until(lambda: digging.ended)


async def test_rows_of_another_kind_and_rows_that_are_not_due_are_left_alone(admin, pool):
    await add(admin, "other", kind="fill")
    await add(admin, "later")
    await admin.execute("update varve.jobs set run_after = now() + interval '1 hour' where reference = 'later'")
    await add(admin, "now")
    digging = Digging()
    async with running(JobRunner(KIND, digging.handle, pool=pool, concurrency=4).run()):
        await until(lambda: digging.ended)
        await asyncio.sleep(0.05)
    assert [job.reference for job in digging.begun] == ["now"]
    assert await pending(admin) == [("later", 0, False), ("other", 0, False)]


async def test_a_worker_that_stops_gives_back_what_it_had_not_ended(admin, pool):
    await add(admin, "hole")
    digging = Digging(may_end=False)
    async with running(JobRunner(KIND, digging.handle, pool=pool, concurrency=1).run()):
        await until(lambda: digging.begun)
        assert await pending(admin) == [("hole", 1, True)]
    assert await pending(admin) == [("hole", 0, False)]


async def test_the_row_of_a_worker_that_died_is_claimed_again_when_its_lease_is_over(
    settings, admin, pool, monkeypatch
):
    monkeypatch.setattr(jobs, "_LEASE_SECONDS", 0.5)
    monkeypatch.setattr(jobs, "_RENEW_SECONDS", 60.0)
    await add(admin, "hole")
    dying, next_one = Digging(may_end=False), Digging()
    async with open_pool(settings, "varve_projector", 2) as its_own:
        dead = asyncio.create_task(JobRunner(KIND, dying.handle, pool=its_own, concurrency=1).run())
        await until(lambda: dying.begun)
    dead.cancel()  # without its connections it can give nothing back
    await asyncio.gather(dead, return_exceptions=True)
    assert await pending(admin) == [("hole", 1, True)]
    runner = JobRunner(KIND, next_one.handle, pool=pool, concurrency=1)
    async with running(runner.run()):
        await until_none_is_pending(admin, runner)
    assert [job.attempts for job in next_one.ended] == [2]


async def test_the_lease_of_work_that_takes_long_is_renewed(admin, pool, monkeypatch):
    monkeypatch.setattr(jobs, "_LEASE_SECONDS", 0.6)
    monkeypatch.setattr(jobs, "_RENEW_SECONDS", 0.1)
    await add(admin, "hole")
    slow, other = Digging(may_end=False), Digging()
    async with running(JobRunner(KIND, slow.handle, pool=pool, concurrency=1).run()):
        await until(lambda: slow.begun)
        second = JobRunner(KIND, other.handle, pool=pool, concurrency=1)
        async with running(second.run()):
            for _ in range(15):
                second.wake()
                await asyncio.sleep(0.1)
        slow.may_end.set()
        await until_none_is_pending(admin)
    assert other.begun == []


async def test_what_fails_is_tried_again_after_longer_and_longer_pauses(admin, pool):
    async def fail(job):
        raise ValueError(f"attempt {job.attempts}")

    await add(admin, "hole")
    delays = []
    runner = JobRunner(KIND, fail, pool=pool, concurrency=1)
    async with running(runner.run()):
        for attempt in range(1, 8):
            delays.append(await _delay_after(admin, attempt))
            await admin.execute("update varve.jobs set run_after = now()")
            runner.wake()
    assert delays == [1, 5, 30, 120, 600, 600, 600]


async def _delay_after(admin, attempt):
    failed = "select round(extract(epoch from run_after - clock_timestamp())) from varve.jobs where error = %s"
    async with asyncio.timeout(SECONDS):
        while True:
            row = await (await admin.execute(failed, (f"ValueError('attempt {attempt}')",))).fetchone()
            if row is not None:
                return int(row[0])
            await asyncio.sleep(0.01)


async def test_a_row_that_is_asked_for_anew_while_it_runs_survives_the_end_of_the_old_run(admin, pool):
    await add(admin, "hole")
    old = Digging(may_end=False)
    async with running(JobRunner(KIND, old.handle, pool=pool, concurrency=1).run()):
        await until(lambda: old.begun)
        await admin.execute(
            "update varve.jobs set position = 2, attempts = 0, leased_until = null, "
            "run_after = now() + interval '1 minute'"
        )
        old.may_end.set()
        await until(lambda: old.ended)
        await asyncio.sleep(0.1)
        assert await pending(admin) == [("hole", 0, False)]


async def test_the_failure_of_an_old_run_delays_no_new_request(admin, pool):
    gate = asyncio.Event()
    begun = asyncio.Event()

    async def fail(job):
        begun.set()
        await gate.wait()
        raise ValueError("too late")

    await add(admin, "hole")
    async with running(JobRunner(KIND, fail, pool=pool, concurrency=1).run()):
        await begun.wait()
        await admin.execute(
            "update varve.jobs set position = 2, attempts = 0, leased_until = null, "
            "run_after = now() + interval '1 minute'"
        )
        gate.set()
        await asyncio.sleep(0.2)
        cursor = await admin.execute("select position, attempts, error from varve.jobs")
        assert await cursor.fetchall() == [(2, 0, None)]


@pytest.mark.parametrize(
    ("state", "attempts"),
    [("40P01", 0), ("55P03", 0), ("53100", 1), ("42501", 1), ("22003", 1)],
)
async def test_a_job_that_meets_a_sqlstate_stays_and_counts_what_does_not_pass(pool, admin, state, attempts):
    await add(admin, "a job")
    has_failed = asyncio.Event()

    async def handle(job):
        has_failed.set()
        raise psycopg.errors.lookup(state)("said by the server")

    async with running(JobRunner(KIND, handle, pool=pool, concurrency=1).run()):
        await has_failed.wait()
        async with asyncio.timeout(SECONDS):
            while (await pending(admin))[0][2]:  # noqa: ASYNC110 - what is waited for stands in PostgreSQL
                await asyncio.sleep(0.01)
    cursor = await admin.execute("select attempts, error is not null from varve.jobs")
    assert await cursor.fetchall() == [(attempts, attempts > 0)]
