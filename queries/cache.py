"""Keeps answers in two levels: in this process, and where all processes find them.

An answer is good as long as its tenant has no event after its position that one of its models takes, and its read
models were neither rebuilt nor repaired (docs/decisions/0022). What says so is at most a quarter of a second old; while
it is not known, nothing that is kept is given.
"""

import asyncio
import hashlib
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any
from uuid import UUID

import orjson

from domain.shared.access import Actor
from queries.answers import EncodedAnswer
from queries.message import Answer, Query
from queries.metrics import cache_hits, cache_misses
from queries.ports import Changes, KeptAnswer, SharedAnswers

Make = Callable[[], Awaitable[Answer[Any]]]
Key = tuple[Hashable, ...]
OnHit = Callable[[str, Query, int], None]
"""Told the tenant, the query and how many results it has of each answer that was kept."""


@dataclass(frozen=True, slots=True)
class _Entry:
    answer: EncodedAnswer
    tenant: str
    epoch: str
    positions: Mapping[str, int]
    versions: Mapping[str, str]
    position: int
    query: Query
    kept_until: float
    query_hash: str | None
    """By which other processes find it; None when they don't."""

    @property
    def size(self) -> int:
        return len(self.answer.body)


@dataclass(frozen=True)
class Asked:
    """A question, who asks it, and the position token that the answer has to reflect, if any."""

    query: Query
    actor: Actor
    min_position: str | None = None
    as_of: UUID | None = None
    """What to answer from, for an audit; such answers are not kept."""

    @property
    def key(self) -> Key:
        """What tells apart questions: the query, its parameters, and who asks with which roles."""
        actor = self.actor
        return (actor.tenant, actor.user, actor.roles, type(self.query), *self.query.__dict__.values())

    @property
    def query_hash(self) -> str:
        """What stands for the key within its tenant, in other processes and in lists of kept answers."""
        query, actor = self.query, self.actor
        asker = f"{type(query).__name__}\n{actor.user}\n{','.join(sorted(actor.roles))}\n"
        return hashlib.sha256(asker.encode() + query.model_dump_json().encode()).hexdigest()


class AnswerCache:
    """Gives answers that are kept, and has lists and searches made once for all who ask for them at that moment."""

    def __init__(
        self,
        changes: Changes,
        shared: SharedAnswers,
        *,
        most_bytes: int,
        seconds: float,
        together_seconds: float,
        on_hit: OnHit = lambda *_: None,
    ) -> None:
        """Take what is known of the log, and where other processes keep theirs.

        Args:
            changes: decides whether an answer is still good.
            shared: the second level.
            most_bytes: of the answers' bodies in this process; the least recently used are dropped.
            seconds: how long an answer is kept here.
            together_seconds: how old an answer in the making may be for a later question to wait for it.
            on_hit: told of each answer that was kept.
        """
        self._changes = changes
        self._shared = shared
        self._most_bytes = most_bytes
        self._seconds = seconds
        self._together_seconds = together_seconds
        self._on_hit = on_hit
        self._entries: OrderedDict[Key, _Entry] = OrderedDict()
        self._bytes = 0
        self._making: dict[Key, tuple[float, asyncio.Task[EncodedAnswer]]] = {}

    def kept(self, key: Key, min_position: str | None) -> EncodedAnswer | None:
        """Return the answer that this process has for a question's key, if it is good and as new as is wanted."""
        entry = self._entries.get(key)
        if entry is None or not self._changes.is_known() or not self._is_good(entry, min_position):
            return None
        self._entries.move_to_end(key)
        return self._hit(entry, "process")

    def _hit(self, entry: _Entry, level: str) -> EncodedAnswer:
        cache_hits.add(1, _attributes(type(entry.query), level))
        self._on_hit(entry.tenant, entry.query, entry.answer.results)
        if entry.query_hash is not None:
            self._shared.note_hit(entry.tenant, entry.query_hash)
        return entry.answer

    async def answer(self, asked: Asked, make: Make) -> EncodedAnswer:
        """Return an answer that is kept, or what `make` returns; that is kept then.

        Raises:
            Exception: whatever `make` raises.
        """
        if not asked.query.may_be_kept() or not await self._changes.know():
            return EncodedAnswer.of(await make())
        key = asked.key
        kept = self.kept(key, asked.min_position)
        if kept is not None:
            return kept
        if asked.min_position is not None or not asked.query.IS_SHARED:
            return await self._found_or_made(asked, key, make)
        return await self._together(asked, key, make)

    async def _together(self, asked: Asked, key: Key, make: Make) -> EncodedAnswer:
        """Wait for the answer that is in the making for the same question, unless that has taken too long already."""
        now = time.monotonic()
        began, task = self._making.get(key, (0.0, None))
        if task is None or now - began > self._together_seconds:
            task = asyncio.create_task(self._found_or_made(asked, key, make), name="answer")
            self._making[key] = now, task
            task.add_done_callback(lambda done: self._forget_making(key, done))
        # Shielded, because others wait for the same answer when one request is given up.
        return await asyncio.shield(task)

    def _forget_making(self, key: Key, done: asyncio.Task[EncodedAnswer]) -> None:
        if not done.cancelled():
            done.exception()  # told to everybody who waited, if anybody still did
        if self._making.get(key, (0.0, None))[1] is done:
            del self._making[key]

    async def _found_or_made(self, asked: Asked, key: Key, make: Make) -> EncodedAnswer:
        query_hash = asked.query_hash if asked.query.IS_SHARED else None
        if query_hash is not None:
            content = await self._shared.get(asked.actor.tenant, query_hash)
            entry = None if content is None else self._decoded(asked, query_hash, content)
            if entry is not None and self._is_good(entry, asked.min_position):
                self._put(key, entry)
                return self._hit(entry, "redis")
        cache_misses.add(1, _attributes(type(asked.query)))
        return self._keep(asked, key, query_hash, await make())

    def _is_good(self, entry: _Entry, min_position: str | None) -> bool:
        if time.monotonic() > entry.kept_until:
            return False
        if min_position is not None:
            # A token of another history, or none at all, is for whoever can say what is wrong with it.
            epoch, _, position = min_position.partition("-")
            if epoch != entry.epoch or not position.isdecimal() or int(position) > entry.position:
                return False
        return self._changes.is_current(entry.tenant, entry.positions, entry.versions, entry.epoch)

    def _keep(self, asked: Asked, key: Key, query_hash: str | None, made: Answer[Any]) -> EncodedAnswer:
        """Keep an answer that lacks nothing; what lacks parked events changes without an event of its own."""
        answer, tenant = EncodedAnswer.of(made), asked.actor.tenant
        is_whole = made.positions and not made.parked
        if not is_whole or not self._changes.is_current(tenant, made.positions, made.versions, made.epoch):
            return answer
        entry = _Entry(
            answer=answer,
            tenant=tenant,
            epoch=made.epoch,
            positions=made.positions,
            versions=made.versions,
            position=made.position,
            query=asked.query,
            kept_until=time.monotonic() + self._seconds,
            query_hash=query_hash,
        )
        self._put(key, entry)
        if query_hash is not None:
            kind = type(asked.query).__name__
            self._shared.put(tenant, query_hash, KeptAnswer(kind, answer.results, _encoded(entry)))
        return answer

    def _put(self, key: Key, entry: _Entry) -> None:
        before = self._entries.pop(key, None)
        self._bytes += entry.size - (before.size if before else 0)
        self._entries[key] = entry
        while self._bytes > self._most_bytes:
            _, dropped = self._entries.popitem(last=False)
            self._bytes -= dropped.size

    def _decoded(self, asked: Asked, query_hash: str, content: bytes) -> _Entry:
        head, _, body = content.partition(b"\n")
        fields = orjson.loads(head)
        answer = EncodedAnswer(body=body, **fields.pop("answer"))
        return _Entry(
            **fields,
            answer=answer,
            tenant=asked.actor.tenant,
            query=asked.query,
            kept_until=time.monotonic() + self._seconds,
            query_hash=query_hash,
        )


@cache
def _attributes(query: type[Query], level: str | None = None) -> dict[str, str]:
    name = {"varve.query": query.__name__}
    return name if level is None else name | {"varve.cache.level": level}


def _encoded(entry: _Entry) -> bytes:
    answer = entry.answer
    head = {
        "epoch": entry.epoch,
        "positions": entry.positions,
        "versions": entry.versions,
        "position": entry.position,
        "answer": {
            "position": answer.position,
            "parked": answer.parked,
            "version": answer.version,
            "results": answer.results,
        },
    }
    return orjson.dumps(head) + b"\n" + answer.body
