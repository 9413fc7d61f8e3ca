"""The largest entries, batches and documents are applied a slice at a time: no lease is lost, and others go on."""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from commands.knowledge.create_entry import CreateKnowledgeEntries, CreateKnowledgeEntry
from commands.knowledge.delete_entry import DeleteKnowledgeEntry
from commands.knowledge.process_document import CompleteDocumentProcessing, ProcessDocument
from commands.knowledge.restore_entry import RestoreKnowledgeEntry
from commands.knowledge.upload_document import UploadDocument
from domain.knowledge.document import ProcessedContent, UploadedFile
from domain.knowledge.values import MAX_DESCRIPTION
from domain.shared.access import system_actor
from projections.generations import start_rebuild
from projections.knowledge.entry_list import KnowledgeEntryListView
from projections.search.text_leg import SearchTextLeg
from projections.search.vector_leg import SearchVectorLeg
from tests.builders import actors
from tests.builders.entries import new_entry
from tests.projections.engines import engine_of, lanes, until, until_caught_up, until_live
from tests.projections.sending import send
from tests.projections.views import read_models
from varve.bootstrap import text_processes
from workers.documents.document import Block, BlockKind, ParsedDocument

NAMES = [KnowledgeEntryListView.NAME, SearchTextLeg.NAME, SearchVectorLeg.NAME]
DOCUMENT_CHARACTERS = 2_000_000
LONGEST_STALL = 1.0
SECONDS = 300
SOON = 10.0


def text_of(seed: int, characters: int) -> str:
    """A text with many different words, some of them Chinese characters."""
    chosen = random.Random(seed)  # noqa: S311 - a text, not a secret
    words = ["".join(chosen.choices("abcdefghij", k=9)) for _ in range(3_000)] + ["冰", "川", "沉积。"] * 100
    return " ".join(chosen.choices(words, k=characters // 6))[:characters]


LARGEST = text_of(1, MAX_DESCRIPTION)
BATCH = [text_of(2 + number, MAX_DESCRIPTION // 4) for number in range(3)]
DOCUMENT = text_of(9, DOCUMENT_CHARACTERS)


@asynccontextmanager
async def ticking() -> AsyncIterator[list[float]]:
    """Note how late the event loop was at each of many moments."""
    late = [0.0]

    async def tick() -> None:
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + 0.005
            await asyncio.sleep(0.005)
            late.append(loop.time() - due)

    task = asyncio.create_task(tick())
    try:
        yield late
    finally:
        task.cancel()


async def processed_document(platform, settings) -> ProcessedContent:
    """Store the content of a document of several million characters, as a document worker does."""
    parsed = ParsedDocument("large", None, "text/plain", DOCUMENT, (Block(BlockKind.PARAGRAPH, 0, len(DOCUMENT)),))
    texts = text_processes(settings, 256)

    async def store(pieces):
        return await platform.blobs.put_stream("acme", pieces, 100_000_000)

    stored, passages = await texts.store_content(parsed, "", store)
    await texts.close()
    return ProcessedContent(
        title="Large",
        language=None,
        media_type="text/plain",
        characters=len(DOCUMENT),
        pages=None,
        chunk_count=passages,
        content_sha256=stored.sha256,
    )


async def record(platform, content: ProcessedContent) -> None:
    file = UploadedFile(file_name="large.txt", media_type="text/plain", size=1, sha256="ab" * 32)
    document_id = (await send(platform, UploadDocument(file=file), actors.ANN)).aggregate_id
    worker = system_actor("acme")
    await send(platform, ProcessDocument(document_id=document_id, attempt=1), worker)
    await send(platform, CompleteDocumentProcessing(document_id=document_id, attempt=1, content=content), worker)


async def fences(admin) -> set[tuple[str, int, int]]:
    """The leases of the live lanes: another fence says that one was lost."""
    held = [each for each in await lanes(admin, *NAMES) if each["status"] == "live"]
    return {(each["projection"], each["first_slot"], each["fence"]) for each in held}


COUNTED = """
with counted as (
    select p.tenant, p.term, count(*)::integer as chunks from {table}_postings p group by p.tenant, p.term
)
select (select count(*) from counted c full join {table}_terms t using (tenant, term)
        where c.chunks is distinct from t.chunks),
       (select sum(cardinality(terms)) from {table}_chunks) - (select count(*) from {table}_postings),
       (select count(*) from {table}_chunks) - (select sum(chunks) from {table}_stats),
       (select sum(length) from {table}_chunks) - (select sum(total_length) from {table}_stats)
"""
"""How far postings and counters are from what the chunks say."""


async def until_held_by(owner: str, admin) -> None:
    async def are_held() -> bool:
        return {each["owner"] for each in await lanes(admin, *NAMES)} == {owner}

    await until(are_held, f"{owner} has all lanes")


async def seconds_until_listed(admin, entry_id) -> float:
    """How long it takes from now until an entry can be read."""
    loop = asyncio.get_running_loop()
    began = loop.time()

    async def is_listed() -> bool:
        cursor = await admin.execute(
            "select from read_models.knowledge_entry_list_1_entries where entry_id = %s", (entry_id,)
        )
        return await cursor.fetchone() is not None

    await until(is_listed, "the other tenant's entry is listed")
    return loop.time() - began


@pytest.mark.slow
async def test_the_largest_that_is_sent_costs_no_lease_and_holds_up_nobody(
    settings, platform, admin, projector_pool, embedding
):
    content = await processed_document(platform, settings)
    projections = [each for each in read_models(settings, embedding.wake) if each.NAME in NAMES]
    (text_leg,) = [each for each in projections if each.NAME == SearchTextLeg.NAME]
    async with engine_of(settings, projections) as owner:
        await until_held_by(owner, admin)
        before = await fences(admin)
        async with ticking() as late:
            entry = await send(platform, CreateKnowledgeEntry(entry=new_entry(description=LARGEST)), actors.ANN)
            batch = tuple(new_entry(name=f"{number}", description=text) for number, text in enumerate(BATCH))
            await send(platform, CreateKnowledgeEntries(entries=batch), actors.ANN)
            await record(platform, content)
            async with projector_pool.connection() as connection:
                await start_rebuild(connection, text_leg)
            await send(platform, DeleteKnowledgeEntry(entry_id=entry.aggregate_id), actors.ANN)
            await send(platform, RestoreKnowledgeEntry(entry_id=entry.aggregate_id), actors.ANN)
            other = await send(platform, CreateKnowledgeEntry(entry=new_entry()), actors.ANN_ELSEWHERE)
            assert await seconds_until_listed(admin, other.aggregate_id) < SOON
            await until_live(admin, SearchTextLeg.NAME, 2, SECONDS)
            await until_caught_up(admin, NAMES, SECONDS)
        assert max(late) < LONGEST_STALL
        after = await fences(admin)
    rebuilt = {each for each in after if each[0] == SearchTextLeg.NAME}
    assert after - rebuilt == {each for each in before if each[0] != SearchTextLeg.NAME}
    assert {fence for _, _, fence in rebuilt} == {1}
    assert (await (await admin.execute("select count(*) from varve.parked")).fetchone()) == (0,)
    cursor = await admin.execute(COUNTED.format(table="read_models.search_text_2"))
    assert await cursor.fetchone() == (0, 0, 0, 0)
    cursor = await admin.execute(
        "select (select count(*) from read_models.search_text_2_chunks),"
        " (select count(*) from read_models.search_vector_1_vectors)"
    )
    text_chunks, vectors = await cursor.fetchone()
    assert text_chunks == vectors > content.chunk_count
