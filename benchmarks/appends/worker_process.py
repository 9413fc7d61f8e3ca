"""A process that runs what workers run beside the appends: read models on an engine, and jobs that are done at once.

It is told where the database is on its standard input.
"""

import asyncio
import os
import sys

import uvloop

from benchmarks.appends.worker_settings import WorkerSettings
from eventstore.background import running_beside
from eventstore.log import LogReader
from projections.activity.user_activity import UserActivityView
from projections.engine import Engine
from projections.knowledge.document_jobs import JOB_KIND, DocumentJobs
from projections.knowledge.document_status import DocumentStatusView
from projections.knowledge.entry_list import KnowledgeEntryListView
from varve.bootstrap import event_types
from varve.pools import open_pool
from workers.jobs import Job, JobRunner

_CONNECTIONS = 6
_JOBS_AT_ONCE = 4


def main() -> None:
    uvloop.run(_work(WorkerSettings.model_validate_json(sys.stdin.readline())))


async def _work(told: WorkerSettings) -> None:
    settings, owner = told.settings(), f"worker {os.getpid()}"
    async with open_pool(settings, "varve_projector", _CONNECTIONS, application_name=owner) as pool:
        jobs = JobRunner(JOB_KIND, _done, pool=pool, concurrency=_JOBS_AT_ONCE)
        engine = Engine(
            [KnowledgeEntryListView(), DocumentStatusView(), UserActivityView(), DocumentJobs(jobs.wake)],
            pool=pool,
            reader=LogReader(event_types()),
            listen_url=settings.role_url("varve_projector"),
            owner=owner,
        )
        async with running_beside(engine.run(), jobs.run()):
            print(flush=True)
            await asyncio.to_thread(sys.stdin.readline)


async def _done(job: Job) -> None:
    """Do nothing: what is measured is the row's way through its table."""


if __name__ == "__main__":
    main()
