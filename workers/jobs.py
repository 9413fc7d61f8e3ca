"""Pending work in PostgreSQL: claimed with a lease, done once, tried again later when it fails."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import psycopg
import structlog
from psycopg.rows import class_row
from psycopg_pool import AsyncConnectionPool

from eventstore.background import end, until_set
from eventstore.fault_log import FAULTS
from eventstore.faults import fault_of, meaning_of
from eventstore.sqlstates import Meaning

log = structlog.get_logger()

_LEASE_SECONDS = 15.0
_RENEW_SECONDS = 5.0
_POLL_SECONDS = 1.0
_PASSING_SECONDS = 2
_RETRY_SECONDS = (1, 5, 30, 120, 600)

_CLAIM = """
with due as (
    select tenant, kind, reference from varve.jobs
    where kind = %(kind)s and run_after <= clock_timestamp()
      and (leased_until is null or leased_until < clock_timestamp())
    order by run_after limit %(limit)s for update skip locked
)
update varve.jobs j
set leased_until = clock_timestamp() + make_interval(secs => %(seconds)s), attempts = j.attempts + 1
from due where (j.tenant, j.kind, j.reference) = (due.tenant, due.kind, due.reference)
returning j.tenant, j.kind, j.reference, j.position, j.payload, j.attempts::integer
"""
_SAME_JOB = "tenant = %(tenant)s and kind = %(kind)s and reference = %(reference)s and position = %(position)s"
_RENEW = f"""
update varve.jobs set leased_until = clock_timestamp() + make_interval(secs => %(seconds)s)
where {_SAME_JOB} and attempts = %(attempts)s
"""
_DONE = f"delete from varve.jobs where {_SAME_JOB}"
_RETRY = f"""
update varve.jobs set leased_until = null, error = %(error)s,
    run_after = clock_timestamp() + make_interval(secs => %(delay)s)
where {_SAME_JOB} and attempts = %(attempts)s
"""
_GIVE_BACK = f"""
update varve.jobs set leased_until = null, attempts = attempts - 1,
    run_after = clock_timestamp() + make_interval(secs => %(delay)s) where {_SAME_JOB} and attempts = %(attempts)s
"""


@dataclass(frozen=True, slots=True)
class Job:
    """A claimed row; `attempts` counts this claim, and those of workers that died on it."""

    tenant: str
    kind: str
    reference: str
    position: int
    payload: dict[str, Any]
    attempts: int


class JobRunner:
    """Runs the pending rows of one kind, `concurrency` at a time, until cancelled.

    A row whose worker died is claimed again when its lease is over. `handle` must therefore have one effect however
    often it runs.
    """

    def __init__(
        self,
        kind: str,
        handle: Callable[[Job], Awaitable[None]],
        *,
        pool: AsyncConnectionPool[Any],
        concurrency: int,
        passing: tuple[type[Exception], ...] = (),
    ) -> None:
        """Take the kind of rows, what handles one, and how many at once.

        Args:
            kind: of the rows.
            handle: has one effect however often it runs.
            pool: of the projector.
            concurrency: how many run at once.
            passing: errors of the machine and not of the row: tried again soon, and not counted.
        """
        self._kind = kind
        self._handle = handle
        self._pool = pool
        self._concurrency = concurrency
        self._passing = passing
        self._running: set[asyncio.Task[None]] = set()
        self._look = asyncio.Event()

    def wake(self) -> None:
        self._look.set()

    async def run(self) -> None:
        """Claim and run until cancelled; unfinished rows are given back."""
        try:
            while True:
                self._look.clear()
                try:
                    await self._claim()
                except psycopg.Error as error:
                    is_lost = fault_of(error).is_lost
                    FAULTS.note("jobs.database_lost" if is_lost else "jobs.not_claimed", error, kind=self._kind)
                await until_set(self._look, _POLL_SECONDS)
        finally:
            await end(*self._running)

    async def _claim(self) -> None:
        limit = self._concurrency - len(self._running)
        if limit <= 0:
            return
        async with self._pool.connection() as connection:
            cursor = connection.cursor(row_factory=class_row(Job))
            await cursor.execute(_CLAIM, {"kind": self._kind, "limit": limit, "seconds": _LEASE_SECONDS})
            jobs = await cursor.fetchall()
        for job in jobs:
            task = asyncio.create_task(self._run(job), name=f"{job.kind} {job.reference}")
            self._running.add(task)
            task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        self._look.set()

    async def _run(self, job: Job) -> None:
        renewing = asyncio.create_task(self._renew(job))
        try:
            await self._handle(job)
        except asyncio.CancelledError:
            await self._write(_GIVE_BACK, job, delay=0)
            raise
        except self._passing as error:
            FAULTS.note("job.put_off", error, kind=job.kind)
            await self._write(_GIVE_BACK, job, delay=_PASSING_SECONDS)
        except Exception as error:  # noqa: BLE001 - the row says what was wrong, and is tried again
            await self._after_failure(job, error)
        else:
            await self._write(_DONE, job)
        finally:
            await end(renewing)

    async def _after_failure(self, job: Job, error: Exception) -> None:
        """Put a job off: for a moment what passes, and the longer the more often it has failed what does not."""
        if meaning_of(error) is Meaning.PASSING:
            FAULTS.note("job.put_off", error, kind=job.kind)
            await self._write(_GIVE_BACK, job, delay=_PASSING_SECONDS)
            return
        delay = _RETRY_SECONDS[min(job.attempts, len(_RETRY_SECONDS)) - 1]
        if meaning_of(error) is Meaning.OPERATOR:
            FAULTS.note("job.failed", error, kind=job.kind, tried_again_in_seconds=delay)
        else:
            log.error(
                "job.failed", kind=job.kind, reference=job.reference, tried_again_in_seconds=delay, exc_info=error
            )
        await self._write(_RETRY, job, error=repr(error), delay=delay)

    async def _renew(self, job: Job) -> None:
        while True:
            await asyncio.sleep(_RENEW_SECONDS)
            await self._write(_RENEW, job, seconds=_LEASE_SECONDS)

    async def _write(self, statement: str, job: Job, **more: str | float) -> None:
        """Write a job's row; when the database is away the lease runs out, and the row is found again."""
        parameters = {
            "tenant": job.tenant,
            "kind": job.kind,
            "reference": job.reference,
            "position": job.position,
            "attempts": job.attempts,
            **more,
        }
        try:
            async with self._pool.connection() as connection:
                await connection.execute(statement, parameters)
        except psycopg.Error as error:
            FAULTS.note("job.not_noted", error, kind=job.kind)
