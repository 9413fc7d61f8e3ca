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
        key = key_of(query, actor)
        kept = self.kept(actor.tenant, key, min_position) or await self._kept_by_others(query, actor, key, min_position)
        if kept is not None:
            return kept
        _uses.add(1, _NOWHERE)
        if min_position is not None:
            return self._keep(query, actor, key, await make())
        return await self._made_together(query, actor, key, make)

    async def _made_together(self, query: Query, actor: Actor, key: str, make: Make) -> EncodedAnswer:
        began, task = self._making.get((actor.tenant, key), (0.0, None))
        now = time.monotonic()
        if task is None or now - began > self._together_seconds:

            async def made() -> EncodedAnswer:
                return self._keep(query, actor, key, await make())

            task = asyncio.create_task(made(), name="answer")
            self._making[actor.tenant, key] = now, task
            task.add_done_callback(lambda done: self._forget_making((actor.tenant, key), done))
        # Shielded, because others wait for the same answer when one request is given up.
        return await asyncio.shield(task)

    def _forget_making(self, key: tuple[str, str], done: asyncio.Task[EncodedAnswer]) -> None:
        if not done.cancelled():
            done.exception()  # told to everybody who waited, if anybody still did
        if self._making.get(key, (0.0, None))[1] is done:
            del self._making[key]

    async def _kept_by_others(
        self, query: Query, actor: Actor, key: str, min_position: str | None
    ) -> EncodedAnswer | None:
        content = await self._shared.get(actor.tenant, key) if query.IS_SHARED else None
        if content is None:
            return None
        entry = self._decoded(actor.tenant, content)
        if not self._is_good(entry, min_position):
            return None
        self._put((actor.tenant, key), entry)
        _uses.add(1, _IN_REDIS)
        self._shared.note_hit(actor.tenant, key)
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

    def _keep(self, query: Query, actor: Actor, key: str, made: Answer[Any]) -> EncodedAnswer:
        """Keep an answer that lacks nothing; what lacks parked events changes without an event of its own."""
        answer = EncodedAnswer.of(made)
        if not made.positions or made.parked:
            return answer
        entry = _Entry(
            answer,
            actor.tenant,
            made.epoch,
            made.positions,
            made.generations,
            made.position,
            query.IS_SHARED,
            time.monotonic() + self._seconds,
        )
        if not self._changes.is_current(entry.tenant, entry.positions, entry.generations, entry.epoch):
            return answer  # the models are behind the log
        self._put((actor.tenant, key), entry)
        if query.IS_SHARED:
            self._shared.put(actor.tenant, key, KeptAnswer(type(query).__name__, answer.results, _encoded(entry)))
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
