"""What a batch makes of the search: the sources that it touches, and the passages that each is searched by."""

import hashlib
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import orjson

from domain.knowledge.content import Passage
from domain.knowledge.events import DocumentProcessed, KnowledgeEntryCreated, KnowledgeEntryUpdated
from eventstore.records import RecordedEvent
from projections.definition import BatchTooLargeError, Connection
from projections.rows import Key, fold_into, in_order
from projections.search.source_rows import SOURCES, Source, fold, source_key
from projections.search.statements import statement
from projections.search.texts import Texts
from projections.slices import bytes_of, in_turns, sliced

T = TypeVar("T")

_PASSAGE_CHARACTERS = 250  # of a short passage: Chinese has that few
_MOST_CHARACTERS = 500_000
"""Of the texts that one batch cuts, unless it has but one: some seconds of a processor."""
_MOST_REMOVED = 5_000
"""Passages that one batch removes, unless they are of one source."""
_SLICE_CHUNKS = 200
_SLICE_BYTES = 400_000
_CHUNK_BYTES = 400
"""Of a chunk beside its texts, as parameters."""


@dataclass(frozen=True, slots=True)
class SourceChanges:
    """What a batch makes of the sources that it touches, and the chunks that they are searched by from then on."""

    sources: Mapping[Key, Source]
    chunks: Sequence["Chunk"]
    removed: Sequence["Stretch"]
    """All former chunks of the touched sources."""


@dataclass(frozen=True, slots=True)
class Stretch:
    """Chunks of a source: those of a tenant with the numbers from `first` to `last`."""

    tenant: str
    first: int
    last: int


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


class SourceReader:
    """Works out what a batch changes: reads the sources as they are, and the content of processed documents."""

    def __init__(self, texts: Texts) -> None:
        self._texts = texts

    async def changed(
        self, connection: Connection, tables: Mapping[str, str], chunks: str, events: Sequence[RecordedEvent]
    ) -> SourceChanges:
        """Return what `events` make of the sources in `tables`, and of the `chunks` there, with nothing cut yet.

        Raises:
            BatchTooLargeError: it is too much for one transaction, and of several sources.
        """
        sources = await SOURCES.load(connection, tables["sources"], {source_key(event) for event in events})
        searched = [key for key, source in sources.items() if source.is_active]
        removed = await _stretches(connection, tables[chunks], searched) if searched else []
        fold_into(sources, events, key=source_key, step=fold)
        _require_bounded([source for source in sources.values() if source.is_active], removed)
        return SourceChanges({key: sources[key] for key in in_order(sources)}, (), removed)

    async def cut(self, changed: SourceChanges) -> SourceChanges:
        """Return `changed` with its chunks; it needs no connection, and may take long."""
        active = [source for source in changed.sources.values() if source.is_active]
        return replace(changed, chunks=await self._chunks_of(active))

    async def _chunks_of(self, active: Sequence[Source]) -> list[Chunk]:
        entries = [source for source in active if source.content_sha256 is None]
        cut = iter(await self._texts.entry_passages([(entry.title, entry.body or "") for entry in entries]))
        chunks: list[Chunk] = []
        for source in active:
            if source.content_sha256 is None:
                passages = next(cut)
            else:
                passages = await self._texts.document_passages(source.tenant, source.content_sha256)
            async for some in in_turns(sliced(passages, lambda _: 0)):
                chunks += [Chunk(source, source.event_position << 20 | each.ordinal, each) for each in some]
        return chunks


def slices_of(chunks: Iterable[Chunk]) -> AsyncIterator[list[Chunk]]:
    """Yield `chunks` as many at once as one statement takes, and let the event loop go on in between."""
    return in_turns(sliced(chunks, _octets, most_bytes=_SLICE_BYTES, most_items=_SLICE_CHUNKS))


async def removals(removed: Iterable[Stretch]) -> AsyncIterator[dict[str, list[Any]]]:
    """Yield the tenants and numbers of chunks that are to be removed, as arrays, some at a time."""
    numbers = ((each.tenant, number) for each in removed for number in range(each.first, each.last + 1))
    async for some in in_turns(sliced(numbers, lambda _: 0, most_items=_SLICE_CHUNKS)):
        yield {"tenants": [tenant for tenant, _ in some], "chunks": [number for _, number in some]}


async def _stretches(connection: Connection, table: str, keys: Sequence[Key]) -> list[Stretch]:
    parameters = {"tenants": [key[0] for key in keys], "source_ids": [key[1] for key in keys]}
    cursor = await connection.execute(statement("stretches").format(table=table), parameters)
    return [Stretch(*row) for row in await cursor.fetchall()]


def _require_bounded(active: Sequence[Source], removed: Sequence[Stretch]) -> None:
    characters = sum(len(source.title) + len(source.body or "") for source in active)
    if len(active) > 1 and characters > _MOST_CHARACTERS:
        raise BatchTooLargeError
    if len(removed) > 1 and sum(each.last + 1 - each.first for each in removed) > _MOST_REMOVED:
        raise BatchTooLargeError


def _octets(chunk: Chunk) -> int:
    source, passage = chunk.source, chunk.passage
    shared = len(source.title) + sum(map(len, source.tags)) + sum(map(len, passage.heading_path))
    return _CHUNK_BYTES + 4 * shared + bytes_of(passage.text) + bytes_of(passage.embedded)


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
