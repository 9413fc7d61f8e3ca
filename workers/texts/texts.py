"""Cuts and analyses texts: short ones here, others in processes beside the worker, which no text can take down."""

import asyncio
import hashlib
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import orjson

from domain.knowledge.content import Passage
from domain.shared.terms import TermCounts, counted
from domain.shared.text import Analyzer
from workers.documents.document import ParsedDocument
from workers.passages import PassageCutter
from workers.texts.channel import PROGRAM, Channel, Job
from workers.texts.errors import ProcessEnded, TextFailed, TextProcessDied, TextTookTooLong
from workers.texts.limits import MEMORY_BYTES
from workers.texts.wire import Config, dump_document, load_passages, load_terms

T = TypeVar("T")

SHORT_CHARACTERS = 1_000
"""Of texts that are worked on here: it takes half a millisecond, and no text of that length takes long."""
_LONG_OCTETS = 100_000
"""Texts from here on have a process of their own: nobody else's wait behind them."""
TOGETHER = 32
"""Texts that are asked for at once, at the most: others' get their turn in between."""
_TOGETHER_OCTETS = 60_000
_BYTES_OF_A_STORED_CHARACTER = 4  # the text, and its passages with what is embedded of them
_IDLE_SECONDS = 60.0
_LONE_DEATHS = 2
_KEPT_FAILURES = 100


@dataclass(frozen=True, slots=True)
class Cutting:
    """How entries and documents are cut: the tokenizer's name, and what the embedding model reads."""

    tokenizer: str
    max_tokens: int


class TextProcesses:
    """Works on texts, with two processes that start when they are first needed: for short texts, and for long ones.

    A process that dies takes no blame from the text that it was at: each that was with it is tried again alone, and
    only what ends it alone twice has failed. A text that takes too long is known for a while by its hash.
    """

    def __init__(
        self,
        cutter: PassageCutter,
        analyzer: Analyzer,
        cutting: Cutting,
        *,
        memory_bytes: int = MEMORY_BYTES,
        idle_seconds: float = _IDLE_SECONDS,
        program: tuple[str, ...] = PROGRAM,
    ) -> None:
        """Take what works on short texts, and how the processes make the same of long ones.

        Args:
            cutter: cuts short entries.
            analyzer: analyses short texts.
            cutting: what the processes make their own cutter of.
            memory_bytes: of a process, the most address space.
            idle_seconds: after so long without work a process is ended.
            program: the interpreter's arguments that start a process; tests give one that misbehaves.
        """

        def config() -> Config:
            return Config(os.getpid(), cutting.tokenizer, cutting.max_tokens, memory_bytes)

        self._cutter = cutter
        self._analyzer = analyzer
        self._short, self._long = (Channel(config, idle_seconds=idle_seconds, program=program) for _ in range(2))
        self._too_long: dict[bytes, None] = {}

    def pids(self) -> list[int]:
        """Return the processes that there are now."""
        return [pid for channel in (self._short, self._long) if (pid := channel.pid) is not None]

    async def close(self) -> None:
        """End the processes."""
        await self._short.close()
        await self._long.close()

    async def passages(self, name: str, description: str) -> Sequence[Passage]:
        """Return the passages of an entry.

        Raises:
            TextFailed: it can't be cut.
            TextProcessUnavailable: no process starts.
        """
        part = orjson.dumps([name, description])
        return await self._whole("entry", lambda: [part], len(part), lambda piece: load_passages(piece, description))

    def passages_of_short(self, name: str, description: str) -> Sequence[Passage]:
        """Return the passages of an entry that is short."""
        return self._cutter.of_entry(name, description)

    async def terms(self, texts: Sequence[str]) -> list[TermCounts]:
        """Return the terms of each text; what is raised is as for `passages`."""
        if sum(map(len, texts)) <= SHORT_CHARACTERS:
            return [counted(self._analyzer.terms(text)) for text in texts]
        found: list[TermCounts] = []
        for some in _together(texts):
            found += await self._terms(orjson.dumps(some))
        return found

    async def stored_passages(self, path: Path) -> list[Passage]:
        """Return the passages of a `DocumentContent` that lies at `path` as JSON; raises as `passages`."""
        location = orjson.dumps(str(path.absolute()))  # noqa: ASYNC240 - no file is touched
        size = (await asyncio.to_thread(path.stat)).st_size
        return await self._whole("stored", lambda: [location], size // _BYTES_OF_A_STORED_CHARACTER, load_passages)

    async def store_content(
        self, document: ParsedDocument, title: str, store: Callable[[AsyncIterator[bytes]], Awaitable[T]]
    ) -> tuple[T, int]:
        """Cut a document, and have its `DocumentContent` stored as JSON.

        Args:
            document: what was parsed.
            title: embedded with each passage; empty when it says nothing of the content.
            store: takes the bytes, some at a time; called again when the process died meanwhile.

        Returns:
            what `store` returned, and the number of passages.

        Raises:
            TextFailed, TextProcessUnavailable: as for `passages`; what `store` raises passes through.
        """

        async def stored(pieces: AsyncIterator[bytes]) -> tuple[T, int]:
            passages = int(await anext(pieces))
            return await store(pieces), passages

        octets = len(document.text) * (1 if document.text.isascii() else 3)
        return await self._tried("content", lambda: dump_document(document, title), octets, stored)

    async def _terms(self, part: bytes) -> list[TermCounts]:
        return await self._whole("terms", lambda: [part], len(part), load_terms)

    async def _whole(
        self, kind: str, parts: Callable[[], Iterable[bytes]], octets: int, load: Callable[[bytes], list[T]]
    ) -> list[T]:
        """Return the whole answer; each of its pieces takes some milliseconds to load."""

        async def loaded(pieces: AsyncIterator[bytes]) -> list[T]:
            found: list[T] = []
            async for piece in pieces:
                found += load(piece)
                await asyncio.sleep(0)
            return found

        return await self._tried(kind, parts, octets, loaded)

    async def _tried(
        self,
        kind: str,
        parts: Callable[[], Iterable[bytes]],
        octets: int,
        use: Callable[[AsyncIterator[bytes]], Awaitable[T]],
    ) -> T:
        """Have the job done, alone if need be."""
        if self._too_long and _digest(kind, parts()) in self._too_long:
            raise TextTookTooLong
        channel = self._long if octets > _LONG_OCTETS else self._short
        is_alone, lone_deaths = False, 0
        while True:
            job = Job(kind, parts, octets, is_alone=is_alone)
            channel.submit(job)
            try:
                return await use(job.pieces())
            except ProcessEnded as ended:
                lone_deaths += job.is_alone
                is_alone = True
                if lone_deaths == _LONE_DEATHS:
                    raise self._failure(kind, parts, ended) from ended
            finally:
                job.is_dropped = True

    def _failure(self, kind: str, parts: Callable[[], Iterable[bytes]], ended: ProcessEnded) -> TextFailed:
        if not ended.is_too_long:
            return TextProcessDied()
        self._too_long[_digest(kind, parts())] = None
        while len(self._too_long) > _KEPT_FAILURES:
            del self._too_long[next(iter(self._too_long))]
        return TextTookTooLong()


def _together(texts: Sequence[str]) -> Iterable[list[str]]:
    """Yield `texts`, some in each job: others' jobs get their turn in between."""
    waiting: list[str] = []
    characters = 0
    for text in texts:
        if waiting and characters + len(text) > _TOGETHER_OCTETS:
            yield waiting
            waiting, characters = [], 0
        waiting.append(text)
        characters += len(text)
    if waiting:
        yield waiting


def _digest(kind: str, parts: Iterable[bytes]) -> bytes:
    digest = hashlib.sha256(kind.encode())
    for part in parts:
        digest.update(part)
    return digest.digest()
