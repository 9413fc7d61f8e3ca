"""What a batch makes of the search: the sources that it touches, and the passages that each is searched by."""

import asyncio
import functools
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import orjson

from domain.knowledge.content import DocumentContent, Passage
from domain.knowledge.events import DocumentProcessed, KnowledgeEntryCreated, KnowledgeEntryUpdated
from eventstore.records import RecordedEvent
from projections.definition import Connection
from projections.rows import Key
from projections.search.source_rows import SOURCES, Source, fold, source_key

QUICK_CHARACTERS = 10_000
"""Of texts that are cut or analysed in a few milliseconds: a thread would have the event loop wait for it as long."""
_KEPT_TEXTS = 1000
_PASSAGE_CHARACTERS = 250  # of a short passage: Chinese has that few


@dataclass(frozen=True, slots=True)
class SourceChanges:
    """What a batch makes of the sources that it touches, and the chunks that they are searched by from then on."""

    sources: Mapping[Key, Source]
    chunks: Sequence["Chunk"]

    @property
    def keys(self) -> dict[str, list[Any]]:
        """The touched sources as arrays: all their former chunks go."""
        return {"tenants": [key[0] for key in self.sources], "source_ids": [key[1] for key in self.sources]}


@dataclass(frozen=True, slots=True)
class Chunk:
    """A passage of a source, as both legs number it.

    `number` holds the position of the event that carried the text and the passage's place in it: unique, the same in
    every rebuild, and another one after every change, so that the two legs never mix versions.
    """

    source: Source
    number: int
    passage: Passage

    @property
    def indexed_text(self) -> str:
        """What the text leg indexes: the passage under its title."""
        return f"{self.source.title}\n{self.passage.text}"

    @property
    def content_hash(self) -> bytes:
        """SHA-256 of what is embedded: the key of its vector in the cache."""
        return hashlib.sha256(self.passage.embedded.encode()).digest()


class EntryPassages(Protocol):
    """Cuts an entry's text so that no passage is longer than the embedding model reads."""

    def __call__(self, name: str, description: str, /) -> Sequence[Passage]: ...


class Contents(Protocol):
    """Reads what was extracted from a document."""

    async def __call__(self, tenant: str, sha256: str, /) -> DocumentContent: ...


class SourceReader:
    """Works out what a batch changes: reads the sources as they are, and the content of processed documents."""

    def __init__(self, entry_passages: EntryPassages, contents: Contents) -> None:
        self._entry_passages = entry_passages
        self._short_passages = functools.lru_cache(_KEPT_TEXTS)(entry_passages)  # both legs ask for the same ones
        self._contents = contents

    async def changes(self, connection: Connection, table: str, events: Sequence[RecordedEvent]) -> SourceChanges:
        """Return what `events` make of the sources in `table`."""
        sources = await SOURCES.folded(connection, table, events, key=source_key, step=fold)
        chunks = [
            Chunk(source, source.event_position << 20 | passage.ordinal, passage)
            for source in sources.values()
            if source.is_active
            for passage in await self._passages(source)
        ]
        return SourceChanges(sources, chunks)

    async def _passages(self, source: Source) -> Sequence[Passage]:
        if source.content_sha256 is not None:
            return (await self._contents(source.tenant, source.content_sha256)).passages
        body = source.body or ""
        if len(body) <= QUICK_CHARACTERS:
            return self._short_passages(source.title, body)
        # On a thread: cutting a long text takes seconds, and the event loop has leases to renew.
        return await asyncio.to_thread(self._entry_passages, source.title, body)


def chunk_columns(chunks: Sequence[Chunk]) -> dict[str, list[Any]]:
    """Return what both legs store of chunks, as arrays."""
    sources, passages = [chunk.source for chunk in chunks], [chunk.passage for chunk in chunks]
    return {
        "tenants": [source.tenant for source in sources],
        "chunks": [chunk.number for chunk in chunks],
        "source_kinds": [source.source_kind for source in sources],
        "source_ids": [source.source_id for source in sources],
        "ordinals": [passage.ordinal for passage in passages],
        "titles": [source.title for source in sources],
        "heading_paths": [json_array(passage.heading_path) for passage in passages],
        "contents": [passage.text for passage in passages],
        "start_offsets": [passage.start for passage in passages],
        "end_offsets": [passage.end for passage in passages],
        "pages": [passage.page for passage in passages],
        "languages": [source.language for source in sources],
        "content_hashes": [chunk.content_hash for chunk in chunks],
        "entity_types": [source.entity_type for source in sources],
        "categories": [source.category for source in sources],
        "tags": [json_array(source.tags) for source in sources],
        "owners": [source.owner for source in sources],
        "visibilities": [source.visibility for source in sources],
        "created_at": [source.created_at for source in sources],
        "event_positions": [source.event_position for source in sources],
    }


def json_array(values: Iterable[str]) -> str:
    """Return `values` as text: arrays of arrays must be rectangular, so each list travels as one element."""
    return orjson.dumps(list(values)).decode()


def weight(recorded: RecordedEvent) -> int:
    """Return how many passages an event brings."""
    match recorded.event:
        case DocumentProcessed(chunk_count=chunks):
            return max(1, chunks)
        case KnowledgeEntryCreated(description=description) | KnowledgeEntryUpdated(description=description):
            return 1 + len(description) // _PASSAGE_CHARACTERS
        case _:
            return 1
