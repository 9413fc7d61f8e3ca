"""A passage that the embedder refuses has no vector: words find it, and the vectors of others don't wait for it."""

import pytest

from commands.knowledge.create_entry import CreateKnowledgeEntry
from commands.knowledge.delete_entry import DeleteKnowledgeEntry
from tests.builders import actors
from tests.builders.entries import new_entry
from tests.fixtures.engine import running
from tests.projections.engines import engine_of, until_caught_up
from tests.projections.sending import create, send
from tests.projections.views import read_models
from workers.embedding.errors import EmbedderRefused
from workers.embedding.hashing import HashingEmbedder
from workers.embedding.requests import EmbeddingRequests

NAMES = ["search_text", "search_vector"]
COUNTS = """
select (select count(*) from read_models.search_text_1_chunks),
       (select count(*) from read_models.search_vector_1_vectors),
       (select coalesce(sum(chunks), 0) from read_models.search_vector_1_vector_stats)
"""


class Refusing(HashingEmbedder):
    async def embed(self, texts):
        if any("poison" in text for text in texts):
            raise EmbedderRefused("the text is too long")
        return await super().embed(texts)


@pytest.fixture
async def embedding(settings, projector_pool):
    requests = EmbeddingRequests(Refusing(), projector_pool)
    async with running(requests.run()):
        yield requests


async def test_the_vectors_of_others_do_not_wait_for_it_and_its_deletion_leaves_nothing(
    settings, platform, admin, embedding
):
    projections = [each for each in read_models(settings, embedding.wake) if each.NAME in NAMES]
    async with engine_of(settings, projections):
        await create(platform, "before")
        poison = await send(platform, CreateKnowledgeEntry(entry=new_entry(name="poison", tags=("tag",))))
        await create(platform, "after")
        await until_caught_up(admin, NAMES)
        assert await (await admin.execute(COUNTS)).fetchone() == (3, 2, 2)
        await send(platform, DeleteKnowledgeEntry(entry_id=poison.aggregate_id), actors.ANN)
        await until_caught_up(admin, NAMES)
        assert await (await admin.execute(COUNTS)).fetchone() == (2, 2, 2)
