"""Processing of one document: one effect however often it runs, and an end whatever goes wrong."""

import asyncio
import threading
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from uuid import UUID, uuid4

import pytest
from dramatiq import Message
from dramatiq.worker import Worker

from commands.knowledge import process_document
from commands.knowledge.delete_document import DeleteDocument
from commands.knowledge.upload_document import UploadDocument
from commands.message import CommandRequest
from domain.knowledge.document import DOCUMENT, UploadedFile
from projections.knowledge.document_jobs import JOB_KIND
from tests.builders import actors
from tests.fixtures.engine import running
from varve.bootstrap import open_document_work, text_processes
from varve.pools import open_pool
from workers import jobs
from workers.actors import LOOK_AT_DOCUMENTS, declare_document_actors
from workers.broker import DOCUMENTS, create_broker
from workers.documents.limits import ParserLimits
from workers.documents.process import DocumentProcessor
from workers.jobs import Job, JobRunner

TEXT = b"# Varves\n\nFine clay settles under the ice.\n"
SECONDS = 20


class NeverRead:
    """Blobs that nobody gets to read: who is processing one still does when it dies."""

    @asynccontextmanager
    async def local_path(self, tenant, sha256):
        await asyncio.Event().wait()
        yield


async def send(platform, command):
    request = CommandRequest(actor=actors.ANN, command_id=uuid4(), correlation_id=uuid4())
    return await platform.commands.execute(command, request)


async def upload(platform, *, is_lost=False) -> UUID:
    """Upload a document; the bytes of one that `is_lost` are not where they should be."""
    stored = await platform.blobs.put_bytes("acme", TEXT, 1000)
    sha256 = "ab" * 32 if is_lost else stored.sha256
    file = UploadedFile(file_name="varves.md", media_type="text/markdown", size=stored.size, sha256=sha256)
    answer = await send(platform, UploadDocument(file=file))
    assert answer.aggregate_id is not None
    return answer.aggregate_id


def processor_of(platform, settings) -> DocumentProcessor:
    return DocumentProcessor(
        commands=platform.commands,
        repository=platform.repository,
        blobs=platform.blobs,
        texts=text_processes(settings, 256),
        limits=ParserLimits(),
    )


async def job_of(admin, document_id, await_projections) -> Job:
    await await_projections("document_jobs")
    cursor = await admin.execute(
        "select tenant, kind, reference, position, payload from varve.jobs where reference = %s", (str(document_id),)
    )
    return Job(*await cursor.fetchone(), attempts=1)


async def status(platform, document_id) -> str:
    return (await platform.repository.load(DOCUMENT, "acme", document_id)).state.status


async def facts(admin, document_id) -> list[str]:
    cursor = await admin.execute(
        "select topic from varve.events where stream = %s order by position", (f"document-{document_id}",)
    )
    return [topic.removeprefix("knowledge.Document") for (topic,) in await cursor.fetchall()]


async def until(condition, wake=lambda: None):
    async with asyncio.timeout(SECONDS):
        while not await condition():
            wake()
            await asyncio.sleep(0.01)


async def _is(platform, document_id, *statuses) -> bool:
    return await status(platform, document_id) in statuses


async def _has_job(admin) -> bool:
    return await (await admin.execute("select from varve.jobs")).fetchone() is not None


async def until_ended(platform, document_id, wake=lambda: None):
    await until(lambda: _is(platform, document_id, "processed", "failed"), wake)


async def until_no_job(admin, wake=lambda: None):
    async def is_gone():
        return not await _has_job(admin)

    await until(is_gone, wake)


@pytest.mark.usefixtures("engine")
async def test_processing_twice_has_one_effect(settings, platform, admin, await_projections):
    document_id = await upload(platform)
    job = await job_of(admin, document_id, await_projections)
    for _ in range(2):
        await processor_of(platform, settings).handle(job)
    assert await facts(admin, document_id) == ["Uploaded", "ProcessingStarted", "Processed"]


@pytest.mark.usefixtures("engine")
async def test_two_workers_that_process_at_the_same_time_have_one_effect(settings, platform, admin, await_projections):
    document_id = await upload(platform)
    job = await job_of(admin, document_id, await_projections)
    await asyncio.gather(*(processor_of(platform, settings).handle(job) for _ in range(2)))
    assert await facts(admin, document_id) == ["Uploaded", "ProcessingStarted", "Processed"]


@pytest.mark.usefixtures("engine")
async def test_what_a_worker_had_begun_when_it_died_is_ended_by_the_next_one(
    settings, platform, admin, await_projections
):
    document_id = await upload(platform)
    job = await job_of(admin, document_id, await_projections)
    async with running(replace(processor_of(platform, settings), blobs=NeverRead()).handle(job)):
        await until(lambda: _is(platform, document_id, "processing"))
    assert await facts(admin, document_id) == ["Uploaded", "ProcessingStarted"]
    await processor_of(platform, settings).handle(job)
    assert await facts(admin, document_id) == ["Uploaded", "ProcessingStarted", "Processed"]


@pytest.mark.usefixtures("engine")
async def test_a_document_that_was_deleted_meanwhile_stays_deleted(settings, platform, admin, await_projections):
    document_id = await upload(platform)
    job = await job_of(admin, document_id, await_projections)
    await send(platform, DeleteDocument(document_id=document_id))
    await processor_of(platform, settings).handle(job)
    assert await facts(admin, document_id) == ["Uploaded", "Deleted"]


@pytest.mark.usefixtures("engine")
async def test_ten_attempts_that_fail_on_our_side_end_in_a_failed_document(settings, platform, admin, monkeypatch):
    monkeypatch.setattr(jobs, "_RETRY_SECONDS", (0,))
    document_id = await upload(platform, is_lost=True)
    attempts = []
    processor = processor_of(platform, settings)

    async def handle(job):
        attempts.append(job.attempts)
        await processor.handle(job)

    async with open_pool(settings, "varve_projector", 4) as pool:
        runner = JobRunner(JOB_KIND, handle, pool=pool, concurrency=1)
        async with running(runner.run()):
            await until_ended(platform, document_id, runner.wake)
            await until_no_job(admin, runner.wake)
    assert attempts == list(range(1, 12)), "ten tries, and the one that gives up"
    assert await facts(admin, document_id) == ["Uploaded", "ProcessingStarted", "ProcessingFailed"]
    cursor = await admin.execute(
        "select data->>'reason', data->>'message' from varve.events_json where topic like '%ProcessingFailed'"
    )
    reason, message = await cursor.fetchone()
    assert reason == "internal_error"
    assert "operator" in message


@pytest.mark.usefixtures("engine")
async def test_an_error_of_ours_that_was_mended_leaves_no_document_in_processing(
    settings, platform, admin, monkeypatch
):
    monkeypatch.setattr(jobs, "_RETRY_SECONDS", (0,))
    decide, failures = process_document.decide_complete, []

    def fail_once(*arguments):
        if not failures:
            failures.append("once")
            raise RuntimeError("a bug, mended by the next release")
        return decide(*arguments)

    monkeypatch.setattr(process_document, "decide_complete", fail_once)
    document_id = await upload(platform)
    async with open_document_work(settings) as work, running(work.run()):
        await until(lambda: _has_job(admin))
        await until_no_job(admin, work.wake)
    assert failures == ["once"]
    assert await status(platform, document_id) == "processed"


@contextmanager
def consuming(broker):
    """Run a Dramatiq worker on real messages."""
    worker = Worker(broker, queues={DOCUMENTS}, worker_threads=1, worker_timeout=100)
    broker.emit_after("process_boot")
    worker.start()
    try:
        yield
    finally:
        worker.stop()
        broker.close()


@pytest.mark.usefixtures("engine")
async def test_a_message_that_is_repeated_changes_nothing(settings, platform, admin):
    broker = create_broker(settings.required_redis_url())
    woken = threading.Semaphore(0)
    loop = asyncio.get_running_loop()
    async with open_document_work(settings, broker) as work, running(work.run()):

        def wake():
            loop.call_soon_threadsafe(work.wake)
            woken.release()

        declare_document_actors(broker, wake)
        document_id = await upload(platform)
        with consuming(broker):
            for _ in range(20):
                broker.enqueue(
                    Message(queue_name=DOCUMENTS, actor_name=LOOK_AT_DOCUMENTS, args=(), kwargs={}, options={})
                )
            for _ in range(20):
                assert await asyncio.to_thread(woken.acquire, timeout=SECONDS)
            await until_ended(platform, document_id)
            await until_no_job(admin)
    assert await facts(admin, document_id) == ["Uploaded", "ProcessingStarted", "Processed"]


@pytest.mark.usefixtures("engine", "document_work")
async def test_without_any_message_a_document_is_processed_all_the_same(platform, admin):
    # Nothing consumes messages here: workers find the rows by looking.
    document_id = await upload(platform)
    await until_ended(platform, document_id)
    await until_no_job(admin)
    assert await facts(admin, document_id) == ["Uploaded", "ProcessingStarted", "Processed"]
