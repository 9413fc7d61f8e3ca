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

log = structlog.get_logger()

_BATCH = 64
_LEASE_SECONDS = 60.0
_POLL_SECONDS = 1.0
_RETRY_SECONDS = (1.0, 2.0, 5.0, 10.0)

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
        while True:
            self._look.clear()
            try:
                while await self._embed_some():
                    pass
                failures = 0
            except Exception as error:  # noqa: BLE001 - whatever it is, the requests stay, and others are embedded later
                is_lost = isinstance(error, psycopg.Error) and fault_of(error).is_lost
                FAULTS.note("embedding.database_lost" if is_lost else "embedding.failed", error)
                await asyncio.sleep(_RETRY_SECONDS[min(failures, len(_RETRY_SECONDS) - 1)])
                failures += 1
            await until_set(self._look, _POLL_SECONDS)

    async def _embed_some(self) -> bool:
        """Embed one batch; return whether there was any."""
        model = self._embedder.model.key
        async with self._pool.connection() as connection:
            claim = {"model": model, "limit": _BATCH, "seconds": _LEASE_SECONDS}
            rows = await (await connection.execute(_CLAIM, claim)).fetchall()
        if not rows:
            return False
        try:
            vectors = await self._embedder.embed([content for _, _, content in rows])
        except BaseException:
            await self._give_back(model, rows)
            raise
        embedded = [(tenant, each, _text_of(vector)) for (tenant, each, _), vector in zip(rows, vectors, strict=True)]
        async with self._pool.connection() as connection, connection.transaction():
            async for some in in_turns(sliced(embedded, lambda each: len(each[2]))):
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
