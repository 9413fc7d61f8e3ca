"""SearchIndexView, text leg: BM25 postings of every passage, and the statistics of terms, for each tenant."""

from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from domain.shared.events import Event
from domain.shared.terms import TermCounts
from domain.shared.text import Analyzer
from eventstore.records import RecordedEvent
from projections.definition import Connect, Connection, Generation, Projection
from projections.search.source_rows import SEARCHED_EVENTS, SOURCES, SOURCES_DDL
from projections.search.sources import (
    Chunk,
    SourceChanges,
    SourceReader,
    chunk_columns,
    removals,
    slices_of,
    weight,
)
from projections.search.statements import statement
from projections.search.texts import Texts
from projections.slices import bytes_of, in_turns, sliced, sorted_in_turns

_COUNTED_AT_ONCE = 2_500  # so that no more than twice as many are


@dataclass(frozen=True, slots=True)
class _Prepared:
    changes: SourceChanges
    counts: Sequence[TermCounts]
    """The terms of each of the chunks."""


class SearchTextLeg(Projection):
    """Every change of a source replaces all its chunks; the counters move by the net of the batch."""

    NAME: ClassVar[str] = "search_text"
    EVENTS: ClassVar[frozenset[type[Event]]] = SEARCHED_EVENTS
    TABLES: ClassVar[tuple[str, ...]] = ("sources", "chunks", "postings", "tags", "terms", "stats")
    LANES: ClassVar[int] = 2
    BATCH: ClassVar[int] = 500
    IS_PIPELINED: ClassVar[bool] = True
    IS_HEAVY: ClassVar[bool] = True

    def __init__(self, analyzer: Analyzer, sources: SourceReader, texts: Texts) -> None:
        """Take the analyzer that makes the terms, for its identity, and what runs it."""
        self._analyzer = analyzer
        self._sources = sources
        self._texts = texts

    def ddl(self) -> str:
        return SOURCES_DDL + statement("text_tables") + statement("text_keys")

    def definition(self) -> str:
        return f"{super().definition()} {self._analyzer.identity}"

    def weight(self, recorded: RecordedEvent) -> int:
        return weight(recorded)

    async def prepare(
        self, connection: Connection, generation: Generation, events: Sequence[RecordedEvent]
    ) -> SourceChanges:
        return await self._sources.changed(connection, generation.tables(self.TABLES), "chunks", events)

    async def work_out(self, generation: Generation, prepared: SourceChanges, connect: Connect) -> _Prepared:
        changes = await self._sources.cut(prepared)
        counts: list[TermCounts] = []
        async for some in slices_of(changes.chunks):
            counts += await self._texts.terms([chunk.indexed_text for chunk in some])
        return _Prepared(changes, counts)

    async def apply(
        self, connection: Connection, generation: Generation, events: Sequence[RecordedEvent], prepared: _Prepared
    ) -> None:
        tables = generation.tables(self.TABLES)
        await SOURCES.save(connection, tables["sources"], prepared.changes.sources.values())
        changes = _Changes()
        async for numbers in removals(prepared.changes.removed):
            cursor = await connection.execute(statement("text_remove").format(**tables), numbers)
            for tenant, chunks, length, terms in await cursor.fetchall():
                changes.note_removed(tenant, chunks, int(length), _list(terms or ""))
        counts = iter(prepared.counts)
        async for some in slices_of(prepared.changes.chunks):
            added = [next(counts) for _ in some]
            await connection.execute(statement("text_add").format(**tables), _columns(some, added))
            changes.note_added(some, added)
        await _count(connection, tables, changes)


def _columns(chunks: Sequence[Chunk], counts: Sequence[TermCounts]) -> dict[str, list[Any]]:
    return chunk_columns(chunks) | {
        "lengths": [each.length for each in counts],
        "terms": [each.terms for each in counts],
        "frequencies": [each.frequencies for each in counts],
    }


def _list(terms: str) -> list[str]:
    return terms.split(" ") if terms else []


class _Changes:
    """What the counters gain and lose by a batch, for each tenant."""

    def __init__(self) -> None:
        self.terms: defaultdict[str, Counter[str]] = defaultdict(Counter)
        self.chunks: Counter[str] = Counter()
        self.lengths: Counter[str] = Counter()

    def note_added(self, chunks: Sequence[Chunk], counts: Sequence[TermCounts]) -> None:
        for chunk, each in zip(chunks, counts, strict=True):
            tenant = chunk.source.tenant
            self.terms[tenant].update(_list(each.terms))
            self.chunks[tenant] += 1
            self.lengths[tenant] += each.length

    def note_removed(self, tenant: str, chunks: int, length: int, terms: Sequence[str]) -> None:
        """Note what a tenant lost: `terms` are a term and its number of chunks in turn."""
        lost = self.terms[tenant]
        for term, number in zip(terms[::2], terms[1::2], strict=True):
            lost[term] -= int(number)
        self.chunks[tenant] -= chunks
        self.lengths[tenant] -= length

    async def net(self) -> AsyncIterator[list[tuple[str, str, int]]]:
        """Yield (tenant, term, change), sorted and some at a time: lanes that share terms lock them in one order."""
        some: list[tuple[str, str, int]] = []
        for tenant in sorted(self.terms):
            counts = self.terms[tenant]
            async for terms in in_turns(sliced(await sorted_in_turns(await _changed(counts)), bytes_of)):
                some += [(tenant, term, counts[term]) for term in terms]
                if len(some) >= _COUNTED_AT_ONCE:
                    yield some
                    some = []
        if some:
            yield some


async def _changed(counts: Counter[str]) -> list[str]:
    changed: list[str] = []
    async for some in in_turns(sliced(counts.items(), lambda _: 0)):
        changed += [term for term, change in some if change]
    return changed


async def _count(connection: Connection, tables: Mapping[str, str], changes: _Changes) -> None:
    async for some in changes.net():
        parameters: dict[str, Any] = {
            "tenants": [tenant for tenant, _, _ in some],
            "terms": [term for _, term, _ in some],
            "changes": [change for _, _, change in some],
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
