"""SearchIndexView, text leg: BM25 postings of every passage, and the statistics of terms, for each tenant."""

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from domain.shared.events import Event
from domain.shared.text import Analyzer
from eventstore.records import RecordedEvent
from projections.definition import Connection, Generation, Projection
from projections.search.source_rows import SEARCHED_EVENTS, SOURCES, SOURCES_DDL
from projections.search.sources import QUICK_CHARACTERS, Chunk, SourceChanges, SourceReader, chunk_columns, weight
from projections.search.statements import statement

_LONGEST_TERM_COUNT = 32_767  # smallint


@dataclass(frozen=True, slots=True)
class _Prepared:
    changes: SourceChanges
    counts: Sequence[Counter[str]]
    """How often each term occurs, for each of the chunks."""


class SearchTextLeg(Projection):
    """Every change of a source replaces all its chunks; the counters move by the net of the batch."""

    NAME: ClassVar[str] = "search_text"
    EVENTS: ClassVar[frozenset[type[Event]]] = SEARCHED_EVENTS
    TABLES: ClassVar[tuple[str, ...]] = ("sources", "chunks", "postings", "tags", "terms", "stats")
    LANES: ClassVar[int] = 2
    BATCH: ClassVar[int] = 500
    IS_PIPELINED: ClassVar[bool] = True
    IS_HEAVY: ClassVar[bool] = True

    def __init__(self, analyzer: Analyzer, sources: SourceReader) -> None:
        self._analyzer = analyzer
        self._sources = sources

    def ddl(self) -> str:
        return SOURCES_DDL + statement("text_tables") + statement("text_keys")

    def definition(self) -> str:
        return f"{super().definition()} {self._analyzer.identity}"

    def weight(self, recorded: RecordedEvent) -> int:
        return weight(recorded)

    async def prepare(
        self, connection: Connection, generation: Generation, events: Sequence[RecordedEvent]
    ) -> _Prepared:
        changes = await self._sources.changes(connection, generation.table("sources"), events)
        if sum(len(chunk.passage.text) for chunk in changes.chunks) <= QUICK_CHARACTERS:
            return _Prepared(changes, self._counts(changes.chunks))
        # On a thread: the analysis of a book takes seconds, and the event loop has leases to renew.
        return _Prepared(changes, await asyncio.to_thread(self._counts, changes.chunks))

    async def apply(
        self, connection: Connection, generation: Generation, events: Sequence[RecordedEvent], prepared: _Prepared
    ) -> None:
        tables = generation.tables(self.TABLES)
        sources, chunks, counts = prepared.changes.sources, prepared.changes.chunks, prepared.counts
        await SOURCES.save(connection, tables["sources"], sources.values())
        changes = await _remove(connection, tables, prepared.changes)
        await _add(connection, tables, chunks, counts)
        for chunk, terms in zip(chunks, counts, strict=True):
            tenant = chunk.source.tenant
            changes.terms.update((tenant, term) for term in terms)
            changes.chunks[tenant] += 1
            changes.lengths[tenant] += terms.total()
        await _count(connection, tables, changes)

    def _counts(self, chunks: Sequence[Chunk]) -> list[Counter[str]]:
        return [Counter(self._analyzer.terms(chunk.indexed_text)) for chunk in chunks]


class _Changes:
    """What the counters gain and lose by a batch."""

    def __init__(self) -> None:
        self.terms: Counter[tuple[str, str]] = Counter()
        self.chunks: Counter[str] = Counter()
        self.lengths: Counter[str] = Counter()


async def _remove(connection: Connection, tables: Mapping[str, str], sources: SourceChanges) -> _Changes:
    changes = _Changes()
    cursor = await connection.execute(statement("text_remove").format(**tables), sources.keys)
    for tenant, term, chunks, length in await cursor.fetchall():
        if term is None:
            changes.chunks[tenant] -= chunks
            changes.lengths[tenant] -= int(length)
        else:
            changes.terms[tenant, term] -= chunks
    return changes


async def _add(
    connection: Connection, tables: Mapping[str, str], chunks: Sequence[Chunk], counts: Sequence[Counter[str]]
) -> None:
    if not chunks:
        return
    parameters = chunk_columns(chunks) | {
        "lengths": [terms.total() for terms in counts],
        "terms": [" ".join(terms) for terms in counts],
        "frequencies": [" ".join(str(min(count, _LONGEST_TERM_COUNT)) for count in terms.values()) for terms in counts],
    }
    await connection.execute(statement("text_add").format(**tables), parameters)


async def _count(connection: Connection, tables: Mapping[str, str], changes: _Changes) -> None:
    changed = sorted(key for key, change in changes.terms.items() if change)
    if changed:
        parameters: dict[str, Any] = {
            "tenants": [tenant for tenant, _ in changed],
            "terms": [term for _, term in changed],
            "changes": [changes.terms[key] for key in changed],
        }
        await connection.execute(statement("text_count").format(**tables), parameters)
        await connection.execute(statement("text_prune").format(**tables), parameters)
    tenants = sorted(tenant for tenant in changes.chunks if changes.chunks[tenant] or changes.lengths[tenant])
    if tenants:
        parameters = {
            "tenants": tenants,
            "chunks": [changes.chunks[tenant] for tenant in tenants],
            "lengths": [changes.lengths[tenant] for tenant in tenants],
        }
        await connection.execute(statement("text_count_stats").format(**tables), parameters)
        await connection.execute(statement("text_prune_stats").format(**tables), parameters)
