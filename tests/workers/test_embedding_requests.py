"""Passages that wait for their vectors: embedded once, in batches, whatever happens to the worker."""

import asyncio
import hashlib
import json

import numpy as np
import pytest
from structlog.testing import capture_logs

from tests.fixtures.engine import running
from varve.pools import open_pool
from workers.embedding import requests
from workers.embedding.errors import EmbedderBusy, EmbedderRefused, EmbedderUnavailable
from workers.embedding.hashing import HashingEmbedder
from workers.embedding.requests import EmbeddingRequests

REQUEST = """
insert into varve.embedding_requests (tenant, model, content_hash, content) values (%s, %s, %s, %s)
"""
SECONDS = 15


@pytest.fixture
async def pool(settings):
    async with open_pool(settings, "varve_projector", 8) as opened:
        yield opened


class Watched(HashingEmbedder):
    """Keeps what it was asked; fails or hangs when a test says so."""

    def __init__(self):
        self.batches = []
        self.failures = 0
        self.has_begun = asyncio.Event()
        self.may_answer = asyncio.Event()
        self.may_answer.set()

    async def embed(self, texts):
        self.batches.append(list(texts))
        self.has_begun.set()
        await self.may_answer.wait()
        if self.failures:
            self.failures -= 1
            raise ConnectionError("the model is away")
        return await super().embed(texts)


async def ask(admin, *texts, tenant="acme", model="hashing@1"):
    for text in texts:
        await admin.execute(REQUEST, (tenant, model, hashlib.sha256(text.encode()).digest(), text))


async def count(admin, table):
    return (await (await admin.execute(f"select count(*) from varve.{table}")).fetchone())[0]


async def until_embedded(admin, *workers, seconds=SECONDS):
    async with asyncio.timeout(seconds):
        while await count(admin, "embedding_requests"):
            for worker in workers:
                worker.wake()
            await asyncio.sleep(0.01)


async def test_what_is_asked_for_is_embedded_and_cached(admin, pool):
    await ask(admin, "clay", "ice")
    await ask(admin, "clay", tenant="umbra")
    async with running(EmbeddingRequests(HashingEmbedder(), pool).run()):
        await until_embedded(admin)
    rows = await (
        await admin.execute("select tenant, model, content_hash, embedding::text from varve.embeddings")
    ).fetchall()
    assert {(tenant, model) for tenant, model, _, _ in rows} == {("acme", "hashing@1"), ("umbra", "hashing@1")}
    (clay,) = await HashingEmbedder().embed(["clay"])
    stored = [json.loads(text) for _, _, key, text in rows if key == hashlib.sha256(b"clay").digest()]
    assert len(stored) == 2
    assert np.allclose(stored, clay, atol=1e-6)


async def test_many_passages_are_embedded_in_full_batches_by_two_workers_and_each_once(admin, pool):
    texts = [f"layer {number}" for number in range(200)]
    await ask(admin, *texts)
    first, second = Watched(), Watched()
    workers = [EmbeddingRequests(embedder, pool) for embedder in (first, second)]
    async with running(workers[0].run()), running(workers[1].run()):
        await until_embedded(admin, *workers)
    embedded = [text for batch in first.batches + second.batches for text in batch]
    assert sorted(embedded) == sorted(texts)
    assert max(map(len, first.batches + second.batches)) == 64
    assert await count(admin, "embeddings") == 200


async def test_requests_of_another_model_are_left_to_its_workers(admin, pool):
    await ask(admin, "clay", model="another@1")
    async with running(EmbeddingRequests(HashingEmbedder(), pool).run()) as task:
        await asyncio.sleep(0.1)
        assert not task.done()
    assert await count(admin, "embedding_requests") == 1
    assert await count(admin, "embeddings") == 0


async def test_no_transaction_is_open_while_the_model_computes(admin, pool):
    embedder = Watched()
    embedder.may_answer.clear()
    await ask(admin, "clay")
    async with running(EmbeddingRequests(embedder, pool).run()):
        await embedder.has_begun.wait()
        cursor = await admin.execute("select count(*) from pg_stat_activity where state = 'idle in transaction'")
        assert await cursor.fetchone() == (0,)
        embedder.may_answer.set()
        await until_embedded(admin)


async def test_what_a_dead_worker_had_claimed_is_embedded_when_its_lease_is_over(admin, pool, monkeypatch):
    await ask(admin, "clay")
    await admin.execute("update varve.embedding_requests set leased_until = clock_timestamp() + interval '0.5 s'")
    embedder = Watched()
    worker = EmbeddingRequests(embedder, pool)
    async with running(worker.run()):
        await until_embedded(admin, worker)
    assert embedder.batches == [["clay"]]


async def test_a_model_that_was_away_for_a_moment_is_asked_again_soon(admin, pool, monkeypatch):
    monkeypatch.setattr(requests, "_RETRY_SECONDS", (0.1,))
    embedder = Watched()
    embedder.failures = 2
    await ask(admin, "clay", "ice")
    worker = EmbeddingRequests(embedder, pool)
    async with running(worker.run()):
        await until_embedded(admin, worker, seconds=5)
    assert len(embedder.batches) == 3


async def test_a_worker_that_stops_gives_back_what_it_had_claimed(admin, pool):
    embedder = Watched()
    embedder.may_answer.clear()
    await ask(admin, "clay")
    async with running(EmbeddingRequests(embedder, pool).run()):
        await embedder.has_begun.wait()
    cursor = await admin.execute("select leased_until from varve.embedding_requests")
    assert await cursor.fetchall() == [(None,)]


class Refusing(Watched):
    """Takes no batch with a text that has one of `words` in it, and nothing at all without `is_set_up`."""

    def __init__(self, *words, error=EmbedderRefused):
        super().__init__()
        self.words = words
        self.error = error
        self.is_set_up = True

    async def embed(self, texts):
        vectors = await super().embed(texts)
        if not self.is_set_up or any(word in text for text in texts for word in self.words):
            raise self.error("this text is not taken")
        return vectors


async def refused(admin):
    cursor = await admin.execute("select tenant, content_hash from varve.embeddings where embedding is null")
    return set(await cursor.fetchall())


async def until_asked(embedder, times):
    async with asyncio.timeout(SECONDS):
        while len(embedder.batches) < times:  # noqa: ASYNC110 - an event for each number would say no more
            await asyncio.sleep(0.01)


def keys_of(*texts, tenant="acme"):
    return {(tenant, hashlib.sha256(text.encode()).digest()) for text in texts}


@pytest.mark.parametrize("error", [EmbedderRefused, EmbedderUnavailable, ValueError])
async def test_a_text_that_the_embedder_refuses_keeps_no_other_from_its_vector(admin, pool, error):
    texts = [f"layer {number}" for number in range(100)]
    await ask(admin, *texts, "poison one", "poison two")
    await ask(admin, "poison one", "clay", tenant="umbra")
    embedder = Refusing("poison", error=error)
    worker = EmbeddingRequests(embedder, pool)
    with capture_logs() as logs:
        async with running(worker.run()):
            await until_embedded(admin, worker)
    assert await count(admin, "embeddings") == 104
    assert await refused(admin) == keys_of("poison one", "poison two") | keys_of("poison one", tenant="umbra")
    told = {(line["tenant"], line["content_hash"]) for line in logs if line["event"] == "embedding.refused"}
    assert told == {(tenant, key.hex()) for tenant, key in await refused(admin)}
    assert len(embedder.batches) < 100, "they are found by halving"


async def test_an_embedder_that_takes_nothing_marks_no_text_as_refused(admin, pool, monkeypatch):
    monkeypatch.setattr(requests, "_RETRY_SECONDS", (0.05,))
    embedder = Refusing()
    embedder.is_set_up = False
    await ask(admin, "clay", "ice")
    worker = EmbeddingRequests(embedder, pool)
    async with running(worker.run()):
        await until_asked(embedder, 6)
        assert await count(admin, "embedding_requests") == 2
        embedder.is_set_up = True
        await until_embedded(admin, worker)
    assert await count(admin, "embeddings") == 2
    assert await refused(admin) == set()


async def test_an_embedder_that_is_busy_is_asked_for_the_same_texts_again(admin, pool, monkeypatch):
    monkeypatch.setattr(requests, "_RETRY_SECONDS", (0.05,))
    embedder = Refusing("clay", error=EmbedderBusy)
    await ask(admin, "clay")
    worker = EmbeddingRequests(embedder, pool)
    async with running(worker.run()):
        await until_asked(embedder, 4)
        assert embedder.batches == [["clay"]] * len(embedder.batches)
        embedder.words = ()
        await until_embedded(admin, worker)
    assert await refused(admin) == set()


async def test_what_was_refused_may_be_asked_for_again_when_the_process_starts_anew(admin, pool):
    await ask(admin, "poison", "ice")
    worker = EmbeddingRequests(Refusing("poison"), pool)
    async with running(worker.run()):
        await until_embedded(admin, worker)
    assert await refused(admin) == keys_of("poison")
    async with running(EmbeddingRequests(HashingEmbedder(), pool).run()), asyncio.timeout(SECONDS):
        while await refused(admin):  # noqa: ASYNC110 - what is waited for stands in PostgreSQL
            await asyncio.sleep(0.01)
    assert await count(admin, "embeddings") == 1
