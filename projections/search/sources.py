"""What is searched: entries and documents as they are now, and the passages that each of them is searched by."""

import asyncio
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Protocol
from uuid import UUID

from domain.knowledge.content import DocumentContent, Passage
from domain.knowledge.events import (
    DocumentDeleted,
    DocumentProcessed,
    DocumentUploaded,
    KnowledgeEntryCreated,
    KnowledgeEntryDeleted,
    KnowledgeEntryRestored,
    KnowledgeEntryUpdated,
)
from domain.shared.events import Event
from eventstore.records import RecordedEvent
from projections.definition import Connection
from projections.rows import Key, KeyedRows

SEARCHED_EVENTS: frozenset[type[Event]] = frozenset(
    {
        KnowledgeEntryCreated,
        KnowledgeEntryUpdated,
        KnowledgeEntryDeleted,
        KnowledgeEntryRestored,
        DocumentUploaded,
        DocumentProcessed,
        DocumentDeleted,
    }
)

_PASSAGE_CHARACTERS = 250  # of a short passage: Chinese has that few

SOURCES_DDL = """
    -- What each source is now: a restored entry is indexed again from here.
    create table {sources} (
        tenant         text        not null,
        source_id      uuid        not null,
        source_kind    text        not null,
        is_active      boolean     not null,
        title          text        not null,
        body           text,
        content_sha256 text,
        language       text,
        entity_type    text,
        category       text,
        tags           text[]      not null,
        owner          text        not null,
        visibility     text        not null,
        created_at     timestamptz not null,
        event_position bigint      not null,
        primary key (tenant, source_id)
    );
"""


@dataclass(frozen=True)
class Source:
    """A row of the table `sources`: an entry has a `body`, a processed document the hash of its content."""

    tenant: str
    source_id: UUID
    source_kind: str
    is_active: bool
    title: str
    body: str | None
    content_sha256: str | None
    language: str | None
    entity_type: str | None
    category: str | None
    tags: list[str]
    owner: str
    visibility: str
    created_at: datetime
    event_position: int


SOURCES = KeyedRows(Source, tenant="text", source_id="uuid")


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


def fold(source: Source | None, recorded: RecordedEvent) -> Source | None:
    """Return the source after one of its events."""
    event, position = recorded.event, recorded.position
    match event:
        case KnowledgeEntryCreated():
            return Source(
                tenant=recorded.tenant,
                source_id=event.entry_id,
                source_kind="entry",
                is_active=True,
                title=event.name,
                body=event.description,
                content_sha256=None,
                language=None,
                entity_type=event.entity_type,
                category=event.category,
                tags=list(event.tags),
                owner=event.owner,
                visibility=event.visibility.value,
                created_at=recorded.recorded_at,
                event_position=position,
            )
        case DocumentUploaded():
            return Source(
                tenant=recorded.tenant,
                source_id=event.document_id,
                source_kind="document",
                is_active=False,
                title=event.file_name,
                body=None,
                content_sha256=None,
                language=None,
                entity_type=None,
                category=event.category,
                tags=list(event.tags),
                owner=event.owner,
                visibility=event.visibility.value,
                created_at=recorded.recorded_at,
                event_position=position,
            )
        case _ if source is None:
            return None
        case KnowledgeEntryUpdated():
            return replace(
                source,
                title=event.name,
                body=event.description,
                entity_type=event.entity_type,
                category=event.category,
                tags=list(event.tags),
                visibility=event.visibility.value,
                event_position=position,
            )
        case DocumentProcessed():
            return replace(
                source,
                is_active=True,
                title=event.title,
                language=event.language,
                content_sha256=event.content_sha256,
                event_position=position,
            )
        case KnowledgeEntryDeleted() | DocumentDeleted():
            return replace(source, is_active=False, event_position=position)
        case KnowledgeEntryRestored():
            return replace(source, is_active=True, event_position=position)
        case _:
            return source


class SourceReader:
    """Works out what a batch changes: reads the sources as they are, and the content of processed documents."""

    def __init__(self, entry_passages: EntryPassages, contents: Contents) -> None:
        self._entry_passages = entry_passages
        self._contents = contents

    async def changes(self, connection: Connection, table: str, events: Sequence[RecordedEvent]) -> SourceChanges:
        """Return what `events` make of the sources in `table`."""
        _, sources = await SOURCES.folded(connection, table, events, key=_source_key, step=fold)
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
        # On a thread: cutting a long text takes seconds, and the event loop has leases to renew.
        return await asyncio.to_thread(self._entry_passages, source.title, source.body or "")


def weight(recorded: RecordedEvent) -> int:
    """Return how many passages an event brings."""
    match recorded.event:
        case DocumentProcessed(chunk_count=chunks):
            return max(1, chunks)
        case KnowledgeEntryCreated(description=description) | KnowledgeEntryUpdated(description=description):
            return 1 + len(description) // _PASSAGE_CHARACTERS
        case _:
            return 1


def _source_key(recorded: RecordedEvent) -> Key:
    event = recorded.event
    source_id: UUID = getattr(event, "entry_id", None) or getattr(event, "document_id")  # noqa: B009 - it has either
    return recorded.tenant, source_id
