"""Keeps answers in two levels: in this process, and where all processes find them.

An answer is good as long as its tenant has no event after its position that one of its models takes, and its
generations are the live ones (docs/decisions/0022). What says so is at most a quarter of a second old; while it is not
known, nothing that is kept is given.
"""

import asyncio
import hashlib
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

import orjson
from opentelemetry import metrics

from domain.shared.access import Actor
from queries.answers import EncodedAnswer
from queries.message import Answer, Query
from queries.ports import Changes, KeptAnswer, SharedAnswers

_uses = metrics.get_meter("varve.queries").create_counter(
    "varve.cache.answers", unit="{answer}", description="Answers by where they were kept; `none` were made anew."
)
_IN_PROCESS, _IN_REDIS, _NOWHERE = ({"varve.cache.level": level} for level in ("process", "shared", "none"))

Make = Callable[[], Awaitable[Answer[Any]]]


@dataclass(frozen=True, slots=True)
class _Entry:
    answer: EncodedAnswer
    tenant: str
    epoch: str
    positions: Mapping[str, int]
    generations: Mapping[str, int]
    position: int
    is_shared: bool
    kept_until: float

    @property
    def size(self) -> int:
        return len(self.answer.body)


@dataclass(frozen=True, slots=True)
class _Asked:
    query: Query
    actor: Actor
    key: str
    min_position: str | None
    make: Make


def key_of(query: Query, actor: Actor) -> str:
    """Return what tells apart questions of a tenant: the query, its parameters, and who asks with which roles."""
    asked = f"{type(query).__name__}\n{actor.user}\n{','.join(sorted(actor.roles))}\n{query.model_dump_json()}"
    return hashlib.sha256(asked.encode()).hexdigest()


class AnswerCache:
    """Gives answers that are kept, and has those that are not made once for all who ask for them at that moment."""

    def __init__(
        self,
        changes: Changes,
        shared: SharedAnswers,
        *,
        most_bytes: int,
        seconds: float,
        together_seconds: float,
    ) -> None:
        """Take what is known of the log, and where other processes keep theirs.

        Args:
            changes: decides whether an answer is still good.
            shared: the second level.
            most_bytes: of the answers' bodies in this process; the least recently used are dropped.
            seconds: how long an answer is kept here.
            together_seconds: how old an answer in the making may be for a later question to wait for it.
        """
        self._changes = changes
        self._shared = shared
        self._most_bytes = most_bytes
        self._seconds = seconds
        self._together_seconds = together_seconds
        self._entries: OrderedDict[tuple[str, str], _Entry] = OrderedDict()
        self._bytes = 0
        self._making: dict[tuple[str, str], tuple[float, asyncio.Task[EncodedAnswer]]] = {}

    def kept(self, tenant: str, key: str, min_position: str | None) -> EncodedAnswer | None:
        """Return the answer that this process has for `key_of` a question, if it is good and as new as is wanted."""
        entry = self._entries.get((tenant, key))
        if entry is None or not self._changes.is_known() or not self._is_good(entry, min_position):
            return None
        self._entries.move_to_end((tenant, key))
        _uses.add(1, _IN_PROCESS)
        if entry.is_shared:
            self._shared.note_hit(tenant, key)
        return entry.answer

    async def answer(self, query: Query, actor: Actor, min_position: str | None, make: Make) -> EncodedAnswer:
        """Return an answer that is kept, or what `make` returns; that is kept then.

        Raises:
            Exception: whatever `make` raises.
        """
        if not query.may_be_kept() or not await self._changes.know():
            return EncodedAnswer.of(await make())
        asked = _Asked(query, actor, key_of(query, actor), min_position, make)
        kept = self.kept(actor.tenant, asked.key, min_position)
        if kept is not None:
            return kept
        return await (self._found_or_made(asked) if min_position else self._together(asked))

    async def _together(self, asked: _Asked) -> EncodedAnswer:
        """Wait for the answer that is in the making for the same question, unless that has taken too long already."""
        key, now = (asked.actor.tenant, asked.key), time.monotonic()
        began, task = self._making.get(key, (0.0, None))
        if task is None or now - began > self._together_seconds:
            task = asyncio.create_task(self._found_or_made(asked), name="answer")
            self._making[key] = now, task
            task.add_done_callback(lambda done: self._forget_making(key, done))
        # Shielded, because others wait for the same answer when one request is given up.
        return await asyncio.shield(task)

    async def _found_or_made(self, asked: _Asked) -> EncodedAnswer:
        found = await self._kept_by_others(asked) if asked.query.IS_SHARED else None
        if found is not None:
            return found
        _uses.add(1, _NOWHERE)
        return self._keep(asked, await asked.make())

    def _forget_making(self, key: tuple[str, str], done: asyncio.Task[EncodedAnswer]) -> None:
        if not done.cancelled():
            done.exception()  # told to everybody who waited, if anybody still did
        if self._making.get(key, (0.0, None))[1] is done:
            del self._making[key]

    async def _kept_by_others(self, asked: _Asked) -> EncodedAnswer | None:
        tenant = asked.actor.tenant
        content = await self._shared.get(tenant, asked.key)
        if content is None:
            return None
        entry = self._decoded(tenant, content)
        if not self._is_good(entry, asked.min_position):
            return None
        self._put((tenant, asked.key), entry)
        _uses.add(1, _IN_REDIS)
        self._shared.note_hit(tenant, asked.key)
        return entry.answer

    def _is_good(self, entry: _Entry, min_position: str | None) -> bool:
        if time.monotonic() > entry.kept_until:
            return False
        if min_position is not None:
            # A token of another history, or none at all, is for whoever can say what is wrong with it.
            epoch, _, position = min_position.partition("-")
            if epoch != entry.epoch or not position.isdecimal() or int(position) > entry.position:
                return False
        return self._changes.is_current(entry.tenant, entry.positions, entry.generations, entry.epoch)

    def _keep(self, asked: _Asked, made: Answer[Any]) -> EncodedAnswer:
        """Keep an answer that lacks nothing; what lacks parked events changes without an event of its own."""
        answer, tenant = EncodedAnswer.of(made), asked.actor.tenant
        is_whole = made.positions and not made.parked
        if not is_whole or not self._changes.is_current(tenant, made.positions, made.generations, made.epoch):
            return answer
        entry = _Entry(
            answer=answer,
            tenant=tenant,
            epoch=made.epoch,
            positions=made.positions,
            generations=made.generations,
            position=made.position,
            is_shared=asked.query.IS_SHARED,
            kept_until=time.monotonic() + self._seconds,
        )
        self._put((tenant, asked.key), entry)
        if entry.is_shared:
            kind = type(asked.query).__name__
            self._shared.put(tenant, asked.key, KeptAnswer(kind, answer.results, _encoded(entry)))
        return answer

    def _put(self, key: tuple[str, str], entry: _Entry) -> None:
        before = self._entries.pop(key, None)
        self._bytes += entry.size - (before.size if before else 0)
        self._entries[key] = entry
        while self._bytes > self._most_bytes:
            _, dropped = self._entries.popitem(last=False)
            self._bytes -= dropped.size

    def _decoded(self, tenant: str, content: bytes) -> _Entry:
        head, _, body = content.partition(b"\n")
        fields = orjson.loads(head)
        answer = EncodedAnswer(body=body, **fields.pop("answer"))
        return _Entry(
            **fields, answer=answer, tenant=tenant, is_shared=True, kept_until=time.monotonic() + self._seconds
        )


def _encoded(entry: _Entry) -> bytes:
    answer = entry.answer
    head = {
        "epoch": entry.epoch,
        "positions": entry.positions,
        "generations": entry.generations,
        "position": entry.position,
        "answer": {
            "position": answer.position,
            "parked": answer.parked,
            "version": answer.version,
            "results": answer.results,
        },
    }
    return orjson.dumps(head) + b"\n" + answer.body
