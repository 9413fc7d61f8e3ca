"""The texts that the search's projections ask for: what was cut is kept, since both legs ask for it."""

import asyncio
import hashlib
import sys
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any, TypeVar

from domain.knowledge.content import Passage
from domain.shared.terms import TermCounts
from eventstore.background import end
from projections.search.texts import TextsUnavailableError
from workers.blobs import Blobs
from workers.texts.errors import TextProcessUnavailable
from workers.texts.texts import SHORT_CHARACTERS, TOGETHER, TextProcesses

T = TypeVar("T")
_Passages = Sequence[Passage]

_KEPT_OCTETS = 128_000_000
_PASSAGE_OCTETS = 600
"""Of a passage's objects, beside its texts."""


class SearchTexts:
    """Implements `projections.search.texts.Texts`.

    Passages are kept, up to so many bytes and at least the last source's, and are made once when several ask for them.
    """

    def __init__(self, processes: TextProcesses, blobs: Blobs, *, most_octets: int = _KEPT_OCTETS) -> None:
        self._processes = processes
        self._blobs = blobs
        self._most_octets = most_octets
        self._kept: dict[bytes, tuple[_Passages, int]] = {}
        self._octets = 0
        self._making: dict[bytes, asyncio.Task[_Passages]] = {}

    def pids(self) -> list[int]:
        """Return the processes that there are now."""
        return self._processes.pids()

    async def close(self) -> None:
        """Let go of what is being made, and end the processes."""
        await end(*self._making.values())
        await self._processes.close()

    async def entry_passages(self, entries: Sequence[tuple[str, str]]) -> Sequence[_Passages]:
        """Return the passages of each entry; see `Texts`."""
        keys = [_key(*entry) for entry in entries]
        found = {key: kept for key in keys if (kept := self._taken(key)) is not None}
        missing = {key: entry for key, entry in zip(keys, entries, strict=True) if key not in found}
        if sum(len(name) + len(description) for name, description in missing.values()) <= SHORT_CHARACTERS:
            for key, entry in missing.items():
                found[key] = self._keep(key, self._processes.passages_of_short(*entry))
        waiting = [key for key in missing if key not in found]
        for start in range(0, len(waiting), TOGETHER):
            some = waiting[start : start + TOGETHER]
            made = await asyncio.gather(*(self._once(key, self._entry_of(missing[key])) for key in some))
            found |= zip(some, made, strict=True)
        return [found[key] for key in keys]

    async def document_passages(self, tenant: str, sha256: str) -> _Passages:
        """Return a document's passages; see `Texts`."""

        async def stored() -> _Passages:
            async with self._blobs.local_path(tenant, sha256) as path:
                return await self._processes.stored_passages(path)

        return await self._once(_key(tenant, sha256), stored)

    async def terms(self, texts: Sequence[str]) -> Sequence[TermCounts]:
        """Return the terms of each text; see `Texts`."""
        return await _available(self._processes.terms(texts))

    def _entry_of(self, entry: tuple[str, str]) -> Callable[[], Coroutine[Any, Any, _Passages]]:
        return lambda: self._processes.passages(*entry)

    async def _once(self, key: bytes, make: Callable[[], Coroutine[Any, Any, _Passages]]) -> _Passages:
        """Return what is kept, or have it made; shielded, because others may wait for the same."""
        if (kept := self._taken(key)) is not None:
            return kept
        task = self._making.get(key)
        if task is None:
            task = self._making[key] = asyncio.create_task(make())
            task.add_done_callback(lambda done: self._note_made(key, done))
        return await _available(asyncio.shield(task))

    def _note_made(self, key: bytes, task: asyncio.Task[_Passages]) -> None:
        del self._making[key]
        if not task.cancelled() and task.exception() is None:
            self._keep(key, task.result())

    def _taken(self, key: bytes) -> _Passages | None:
        """Return what is kept, which is now the last to be forgotten."""
        kept = self._kept.pop(key, None)
        if kept is None:
            return None
        self._kept[key] = kept
        return kept[0]

    def _keep(self, key: bytes, passages: _Passages) -> _Passages:
        octets = sum(_PASSAGE_OCTETS + sys.getsizeof(each.text) + sys.getsizeof(each.embedded) for each in passages)
        _, replaced = self._kept.pop(key, (passages, 0))
        self._kept[key] = passages, octets
        self._octets += octets - replaced
        while self._octets > self._most_octets and len(self._kept) > 1:
            _, forgotten = self._kept.pop(next(iter(self._kept)))
            self._octets -= forgotten
        return passages


async def _available(answer: Awaitable[T]) -> T:
    """Return the answer, or have the lane wait: that a process does not start is no event's fault."""
    try:
        return await answer
    except TextProcessUnavailable as error:
        raise TextsUnavailableError(str(error)) from error


def _key(name: str, text: str) -> bytes:
    digest = hashlib.sha256(f"{len(name)} {name}".encode())
    digest.update(text.encode())
    return digest.digest()
