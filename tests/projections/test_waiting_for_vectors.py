"""A large document's vectors are asked for some at a time, and what waits for them is not worked out at each look."""

import asyncio

import pytest

from commands.knowledge.process_document import CompleteDocumentProcessing, ProcessDocument
from commands.knowledge.upload_document import UploadDocument
from domain.knowledge.content import DocumentContent, Passage
from domain.knowledge.document import ProcessedContent, UploadedFile
from domain.shared.access import system_actor
from projections.search import sources, vector_leg
from projections.search.sources import SourceReader
from projections.search.vector_leg import SearchVectorLeg
from tests.builders import actors
from tests.fixtures.engine import running
from tests.projections.engines import engine_of, until, until_caught_up
from tests.projections.sending import send
from tests.projections.views import read_models
from varve.bootstrap import embedder
from workers.embedding.requests import EmbeddingRequests

PASSAGES = 150
AHEAD = 40


@pytest.fixture
async def document(platform) -> None:
    """A processed document of many passages."""
    words = [f"word {number}" for number in range(PASSAGES)]
    passages = tuple(
        Passage(ordinal=number, start=0, end=1, text=text, embedded=text, heading_path=(), page=None)
        for number, text in enumerate(words)
    )
    content = DocumentContent(text=" ".join(words), passages=passages)
    stored = await platform.blobs.put_bytes("acme", content.model_dump_json().encode(), 1_000_000)
    file = UploadedFile(file_name="many.txt", media_type="text/plain", size=1, sha256="ab" * 32)
    document_id = (await send(platform, UploadDocument(file=file), actors.ANN)).aggregate_id
    processed = ProcessedContent(
        title="Many",
        language=None,
        media_type="text/plain",
        characters=len(content.text),
        pages=None,
        chunk_count=PASSAGES,
        content_sha256=stored.sha256,
    )
    worker = system_actor("acme")
    await send(platform, ProcessDocument(document_id=document_id, attempt=1), worker)
    await send(platform, CompleteDocumentProcessing(document_id=document_id, attempt=1, content=processed), worker)


async def test_they_are_asked_for_ahead_and_the_document_is_cut_once(
    settings, platform, admin, projector_pool, document, monkeypatch
):
    monkeypatch.setattr(sources, "_SLICE_CHUNKS", AHEAD // 2)
    monkeypatch.setattr(vector_leg, "_SLICES_AHEAD", 2)
    monkeypatch.setattr(vector_leg, "_LARGE", 100)
    cut: list[int] = []
    cut_them = SourceReader.cut

    async def told(self, changed):
        made = await cut_them(self, changed)
        cut.append(len(made.chunks))
        return made

    async def requested() -> int:
        (number,) = await (await admin.execute("select count(*) from varve.embedding_requests")).fetchone()
        return number

    async def as_many_as_are_ahead() -> bool:
        return await requested() >= AHEAD

    monkeypatch.setattr(SourceReader, "cut", told)
    requests = EmbeddingRequests(embedder(settings), projector_pool)
    (leg,) = [each for each in read_models(settings, requests.wake) if each.NAME == SearchVectorLeg.NAME]
    async with engine_of(settings, [leg]):
        await until(as_many_as_are_ahead, "vectors are asked for")
        await asyncio.sleep(0.2)  # in which it would ask for more, if it did
        assert await requested() == AHEAD
        async with running(requests.run()):
            await until_caught_up(admin, [leg.NAME])
    cursor = await admin.execute("select count(*) from read_models.search_vector_1_vectors")
    assert await cursor.fetchone() == (PASSAGES,)
    assert 1 <= len([number for number in cut if number]) <= 2  # once more when what comes before it was applied
    assert await requested() == 0
