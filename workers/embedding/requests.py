"""Embeds the passages that the vector leg asks for, in batches across documents, into the cache."""

import asyncio
import contextlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import orjson
import psycopg
import structlog
from psycopg_pool import AsyncConnectionPool

from domain.shared.text import Embedder
from eventstore.background import until_set
from eventstore.fault_log import FAULTS
from eventstore.faults import fault_of
from eventstore.wake import READY_CHANNEL
from projections.slices import in_turns, sliced
from workers.embedding.errors import EmbedderBusy

log = structlog.get_logger()

_BATCH = 64
_LEASE_SECONDS = 60.0
_POLL_SECONDS = 1.0
_RETRY_SECONDS = (1.0, 2.0, 5.0, 10.0)
_SURELY_TAKEN = "a"
"""A text that only an embedder refuses that is away or wrongly set up."""

_CLAIM = """
with free as (
    select tenant, model, content_hash from varve.embedding_requests
    where model = %(model)s and (leased_until is null or leased_until < clock_timestamp())
    limit %(limit)s for update skip locked
)
update varve.embedding_requests r set leased_until = clock_timestamp() + make_interval(secs => %(seconds)s)
from free where (r.tenant, r.model, r.content_hash) = (free.tenant, free.model, free.content_hash)
returning r.tenant, r.content_hash, r.content
"""
_FORGET_REFUSED = "delete from varve.embeddings where model = %s and embedding is null"
_STORE = """
insert into varve.embeddings (tenant, model, content_hash, embedding)
select tenant, %(model)s, content_hash, embedding
from unnest(%(tenants)s::text[], %(hashes)s::bytea[], %(vectors)s::vector[]) as u (tenant, content_hash, embedding)
order by tenant, content_hash
on conflict do nothing
"""
_GIVE_BACK = """
update varve.embedding_requests r set leased_until = null
from unnest(%(tenants)s::text[], %(hashes)s::bytea[]) as u (tenant, content_hash)
where (r.tenant, r.model, r.content_hash) = (u.tenant, %(model)s, u.content_hash)
"""
_DONE = """
delete from varve.embedding_requests r
using unnest(%(tenants)s::text[], %(hashes)s::bytea[]) as u (tenant, content_hash)
where (r.tenant, r.model, r.content_hash) = (u.tenant, %(model)s, u.content_hash)
"""


class EmbeddingRequests:
    """Works off the requests of one model until cancelled; no transaction is open while the model computes."""

    def __init__(self, embedder: Embedder, pool: AsyncConnectionPool[Any]) -> None:
        self._embedder = embedder
        self._pool = pool
        self._look = asyncio.Event()

    def wake(self) -> None:
        self._look.set()

    async def run(self) -> None:
        """Embed whatever is asked for; what a dead worker had claimed is free again after its lease."""
        failures = 0
        forgotten = False
        while True:
            self._look.clear()
            try:
                if not forgotten:
                    await self._forget_refused()
                    forgotten = True
                while await self._embed_some():
                    pass
                failures = 0
            except Exception as error:  # noqa: BLE001 - whatever it is, the requests stay, and others are embedded later
                is_lost = isinstance(error, psycopg.Error) and fault_of(error).is_lost
                FAULTS.note("embedding.database_lost" if is_lost else "embedding.failed", error)
                await asyncio.sleep(_RETRY_SECONDS[min(failures, len(_RETRY_SECONDS) - 1)])
                failures += 1
            await until_set(self._look, _POLL_SECONDS)

    async def _forget_refused(self) -> None:
        """Have what was refused asked for again when it is met: with the process, its settings may be new."""
        async with self._pool.connection() as connection:
            await connection.execute(_FORGET_REFUSED, (self._embedder.model.key,))

    async def _embed_some(self) -> bool:
        """Embed one batch; return whether there was any."""
        model = self._embedder.model.key
        async with self._pool.connection() as connection:
            claim = {"model": model, "limit": _BATCH, "seconds": _LEASE_SECONDS}
            rows = await (await connection.execute(_CLAIM, claim)).fetchall()
        if not rows:
            return False
        try:
            vectors = await self._embedded([content for _, _, content in rows])
        except BaseException:
            await self._give_back(model, rows)
            raise
        embedded = [(tenant, each, vector) for (tenant, each, _), vector in zip(rows, vectors, strict=True)]
        for tenant, each, vector in embedded:
            if vector is None:
                log.warning("embedding.refused", tenant=tenant, content_hash=each.hex())
        async with self._pool.connection() as connection, connection.transaction():
            async for some in in_turns(sliced(embedded, lambda each: len(each[2] or ""))):
                parameters = {
                    "model": model,
                    "tenants": [tenant for tenant, _, _ in some],
                    "hashes": [content_hash for _, content_hash, _ in some],
                    "vectors": [vector for _, _, vector in some],
                }
                await connection.execute(_STORE, parameters)
                await connection.execute(_DONE, parameters)
            await connection.execute("select pg_notify(%s, '')", (READY_CHANNEL,))  # wakes the vector leg
        log.info("embedding.stored", passages=len(rows))
        return True

    async def _embedded(self, texts: Sequence[str]) -> list[str | None]:
        """Return the vector of each text, None of one that the embedder doesn't take though it takes another.

        Raises:
            Exception: whatever it raised, when it takes no other text either, or is busy.
        """
        if (vectors := await self._vectors(texts)) is not None:
            return list(vectors)
        if len(texts) > 1:
            half = len(texts) // 2
            return [*await self._embedded(texts[:half]), *await self._embedded(texts[half:])]
        again = await self._vectors(texts)  # what kept it from answering once may have been over a moment later
        return [None] if again is None else list(again)

    async def _vectors(self, texts: Sequence[str]) -> Sequence[str] | None:
        """Return the vectors, None when these texts are what keeps the embedder from answering."""
        try:
            return [_text_of(vector) for vector in await self._embedder.embed(texts)]
        except EmbedderBusy:
            raise
        except Exception as error:  # noqa: BLE001 - a server that fails says why as it likes
            await self._embedder.embed([_SURELY_TAKEN])
            FAULTS.note("embedding.tried_apart", error, service="embedder")
            return None

    async def _give_back(self, model: str, rows: Sequence[tuple[str, bytes, str]]) -> None:
        """Leave what was claimed to whoever comes next, at once; without the database the lease runs out."""
        parameters = {
            "model": model,
            "tenants": [tenant for tenant, _, _ in rows],
            "hashes": [content_hash for _, content_hash, _ in rows],
        }
        with contextlib.suppress(psycopg.Error):
            async with self._pool.connection() as connection:
                await connection.execute(_GIVE_BACK, parameters)


def _text_of(vector: Sequence[float]) -> str:
    """Return `vector` as pgvector reads it: the shortest numbers that it makes the same four bytes of each."""
    return orjson.dumps(np.asarray(vector, dtype=np.float32), option=orjson.OPT_SERIALIZE_NUMPY).decode()
