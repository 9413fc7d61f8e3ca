"""Fills tenants with entries that can be searched: events in batches, their vectors put into the cache beforehand."""

import itertools
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any
from uuid import UUID

import psycopg

from benchmarks.appends.made_up import METADATA, USER, new_id
from benchmarks.searches.corpus import Corpus, Text
from domain.knowledge.entry import ENTRY
from domain.knowledge.events import KnowledgeEntryCreated, KnowledgeEntryDeleted, KnowledgeEntryUpdated
from domain.shared.access import Visibility
from domain.shared.events import Event
from domain.shared.text import Embedder
from eventstore.batch_appender import BatchAppender, open_batch_appender
from eventstore.mapper import encode
from eventstore.prepare import prepare_rows
from eventstore.rows import EventRow
from varve.bootstrap import embedder, tokenizer
from varve.settings import Settings
from workers.passages import PassageCutter

_AT_ONCE = 500
_SHARE_DELETED = _SHARE_UPDATED = 0.05
_SMALL_TENANTS = 49


@dataclass(frozen=True, slots=True)
class Tenant:
    """A tenant with so many passages when all is done."""

    name: str
    passages: int
    entries: list[UUID] = field(default_factory=list)


def tenants(passages: int) -> list[Tenant]:
    """Return 51 tenants: one has half of all passages, one a fifth, the others share the rest."""
    small = [Tenant(f"small-{number}", passages * 3 // 10 // _SMALL_TENANTS) for number in range(_SMALL_TENANTS)]
    return [Tenant("largest", passages // 2), Tenant("middle", passages // 5), *small]


class Filling:
    """Writes entries into the log, and the vectors of their passages into the cache."""

    def __init__(self, batches: BatchAppender, cache: psycopg.AsyncConnection[Any], settings: Settings) -> None:
        self._batches = batches
        self._cache = cache
        self._embedder: Embedder = embedder(settings)
        self._cutter = PassageCutter(tokenizer(settings), self._embedder.model.max_tokens)
        self._texts = Corpus().texts()

    async def create(self, filled: Sequence[Tenant]) -> None:
        """Create the entries of all tenants in turns, and more than there are to be: some are deleted afterwards."""
        for tenant in itertools.cycle(filled):
            if all(len(each.entries) >= _created(each) for each in filled):
                return
            some = range(len(tenant.entries), min(_created(tenant), len(tenant.entries) + _AT_ONCE))
            texts = list(itertools.islice(self._texts, len(some)))
            ids = [new_id() for _ in some]
            rows = [_row(entry_id, 1, _creation(entry_id, text)) for entry_id, text in zip(ids, texts, strict=True)]
            await self._append(tenant, texts, rows)
            tenant.entries.extend(ids)

    async def change(self, filled: Sequence[Tenant]) -> None:
        """Delete some entries, and give others another text."""
        for tenant in filled:
            deleted = tenant.entries[tenant.passages :]
            updated = tenant.entries[: int(tenant.passages * _SHARE_UPDATED)]
            texts = list(itertools.islice(self._texts, len(updated)))
            rows = [_row(entry_id, 2, KnowledgeEntryDeleted(entry_id=entry_id)) for entry_id in deleted]
            rows += [_row(entry_id, 2, _update(entry_id, text)) for entry_id, text in zip(updated, texts, strict=True)]
            await self._append(tenant, texts, rows)

    async def _append(self, tenant: Tenant, texts: Sequence[Text], rows: Sequence[EventRow]) -> None:
        passages = [passage for text in texts for passage in self._cutter.of_entry(text.name, text.description)]
        vectors = await self._embedder.embed([passage.embedded for passage in passages])
        async with self._cache.cursor() as cursor:
            await cursor.executemany(
                "insert into varve.embeddings values (%s, %s, %s, %s::vector) on conflict do nothing",
                [
                    (
                        tenant.name,
                        self._embedder.model.key,
                        sha256(passage.embedded.encode()).digest(),
                        str(list(vector)),
                    )
                    for passage, vector in zip(passages, vectors, strict=True)
                ],
            )
        for start in range(0, len(rows), _AT_ONCE):
            await self._batches.append(prepare_rows(tenant.name, new_id(), rows[start : start + _AT_ONCE], METADATA))


@asynccontextmanager
async def open_filling(settings: Settings) -> AsyncIterator[Filling]:
    """Open the connections of a filling."""
    async with (
        open_batch_appender(settings.role_url("varve_writer")) as batches,
        await psycopg.AsyncConnection.connect(settings.required_database_url(), autocommit=True) as cache,
    ):
        yield Filling(batches, cache, settings)


def _created(tenant: Tenant) -> int:
    return int(tenant.passages * (1 + _SHARE_DELETED))


def _row(entry_id: UUID, version: int, event: Event) -> EventRow:
    return EventRow(ENTRY.stream(entry_id), version, event.TOPIC, event.class_version, encode(event))


def _creation(entry_id: UUID, text: Text) -> KnowledgeEntryCreated:
    return KnowledgeEntryCreated(
        entry_id=entry_id,
        owner=USER,
        visibility=Visibility.TENANT,
        name=text.name,
        description=text.description,
        entity_type="note",
        category=None,
        tags=text.tags,
        attributes={},
    )


def _update(entry_id: UUID, text: Text) -> KnowledgeEntryUpdated:
    described = _creation(entry_id, text).model_dump(exclude={"owner"})
    return KnowledgeEntryUpdated(**described, changed=("name", "description", "tags"))
