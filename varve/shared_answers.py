"""Answers in Redis, where all API processes find them. Without Redis every process has its own alone."""

import asyncio
import time
from collections import Counter, deque
from collections.abc import Sequence
from typing import Any

from redis.asyncio import Redis
from redis.asyncio.client import Pipeline
from redis.exceptions import RedisError

from eventstore.background import until_set
from eventstore.fault_log import FAULTS
from queries.ports import KeptAnswer, KeptSummary
from workers.redis_faults import dependency_error

_MOST_WAITING = 1_000
_MOST_OCTETS = 1_000_000
"""Of one answer; a longer one is kept in its process alone."""
_WRITTEN_AT_ONCE = 100
_GATHERED_SECONDS = 0.05
"""For so long answers are gathered before they are written: one way to Redis for all of them."""
_COUNTED_SECONDS = 1.0
"""For so long uses are counted before they are written."""
_AWAY_SECONDS = 1.0
"""For so long Redis is not asked again after it did not answer."""
_HIT = "if redis.call('exists', KEYS[1]) == 1 then redis.call('hincrby', KEYS[1], 'hits', ARGV[1]) end"
"""An answer that has expired in between is not made again, as a counter without an end."""


class RedisAnswers:
    """Keeps answers by tenant and hash, each for `seconds`; what is put is written soon, in the background."""

    def __init__(self, redis: Redis, *, seconds: int) -> None:
        self._redis = redis
        self._seconds = seconds
        self._waiting: deque[tuple[str, str, KeptAnswer]] = deque(maxlen=_MOST_WAITING)
        self._hits: Counter[tuple[str, str]] = Counter()
        self._is_due = asyncio.Event()
        self._away_until = 0.0

    async def get(self, tenant: str, query_hash: str) -> bytes | None:
        """Return the content of an answer; None when there is none, or when Redis does not say."""
        if time.monotonic() < self._away_until:
            return None
        try:
            content: Any = await self._redis.hget(_key(tenant, query_hash), "content")
        except (RedisError, OSError, TimeoutError) as error:
            self._note_away(error)
            return None
        return None if content is None else bytes(content)

    def put(self, tenant: str, query_hash: str, answer: KeptAnswer) -> None:
        """Have an answer written; when many wait, the oldest is dropped."""
        if len(answer.content) <= _MOST_OCTETS:
            self._waiting.append((tenant, query_hash, answer))
            self._is_due.set()

    def note_hit(self, tenant: str, query_hash: str) -> None:
        """Have a use of an answer counted."""
        self._hits[tenant, query_hash] += 1

    async def list(self, tenant: str, limit: int) -> Sequence[KeptSummary]:
        """Return up to `limit` answers that are kept for a tenant, those that stay longest first."""
        index = _index(tenant)
        try:
            names: Any = await self._redis.zrange(
                index, "+inf", time.time(), desc=True, byscore=True, offset=0, num=limit
            )
            async with self._redis.pipeline(transaction=False) as pipeline:
                for name in names:
                    pipeline.hmget(_key(tenant, name.decode()), "kind", "results", "hits")
                    pipeline.pttl(_key(tenant, name.decode()))
                found: Any = await pipeline.execute()
        except (RedisError, OSError, TimeoutError) as error:
            self._note_away(error)
            return []
        rows = zip(names, found[::2], found[1::2], strict=True)
        return [
            KeptSummary(kind.decode(), name.decode(), int(results), int(hits or 0), left / 1000)
            for name, (kind, results, hits), left in rows
            if kind is not None
        ]

    async def run(self) -> None:
        """Write what waits, and now and then what was counted, until cancelled."""
        while True:
            await until_set(self._is_due, _COUNTED_SECONDS)
            await asyncio.sleep(_GATHERED_SECONDS)
            self._is_due.clear()
            try:
                await self._write()
            except (RedisError, OSError, TimeoutError) as error:
                self._waiting.clear()
                self._hits.clear()
                self._note_away(error)
                await asyncio.sleep(_AWAY_SECONDS)

    async def _write(self) -> None:
        hits, self._hits = self._hits, Counter()
        while self._waiting or hits:
            async with self._redis.pipeline(transaction=False) as pipeline:
                some = [self._waiting.popleft() for _ in range(min(len(self._waiting), _WRITTEN_AT_ONCE))]
                self._keep(some, pipeline)
                for (tenant, query_hash), count in hits.items():
                    pipeline.eval(_HIT, 1, _key(tenant, query_hash), count)
                hits.clear()
                await pipeline.execute()

    def _keep(self, answers: Sequence[tuple[str, str, KeptAnswer]], pipeline: Pipeline) -> None:
        now = time.time()
        indexes: dict[str, dict[str, float]] = {}
        for tenant, query_hash, answer in answers:
            key = _key(tenant, query_hash)
            fields: Any = {"content": answer.content, "kind": answer.kind, "results": answer.results}
            pipeline.hset(key, mapping=fields)
            pipeline.expire(key, self._seconds)
            indexes.setdefault(_index(tenant), {})[query_hash] = now + self._seconds
        for index, expiries in indexes.items():
            added: Any = expiries
            pipeline.zadd(index, added)
            pipeline.zremrangebyscore(index, "-inf", now)
            pipeline.expire(index, self._seconds)

    def _note_away(self, error: Exception) -> None:
        self._away_until = time.monotonic() + _AWAY_SECONDS
        FAULTS.note("answers.redis_away", dependency_error(error), service="redis")


def _key(tenant: str, query_hash: str) -> str:
    """Return the key of an answer; the braces keep a tenant's keys together in a cluster."""
    return f"varve:answers:{{{tenant}}}:{query_hash}"


def _index(tenant: str) -> str:
    return f"varve:answers:{{{tenant}}}"
