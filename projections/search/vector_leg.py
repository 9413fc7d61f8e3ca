"""SearchIndexView, vector leg: the vector of every passage under an HNSW index, of one embedding model."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from domain.shared.events import Event
from domain.shared.text import EmbeddingModel
from eventstore.records import RecordedEvent
from projections.definition import Connect, Connection, Generation, NotReadyError, Projection
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

_SLICES_AHEAD = 10
"""Of a large batch, so many slices with passages that wait are asked for at once; the others when these are there."""
_LARGE = 500
"""Chunks of a batch that is not worked out anew at each look."""
_REQUEST = """
with wanted as (
    select distinct tenant, content_hash, content
    from unnest(%(tenants)s::text[], %(content_hashes)s::bytea[], %(contents)s::text[])
        as u (tenant, content_hash, content)
), missing as (
    select w.* from wanted w
    where not exists (select from varve.embeddings e
                      where (e.tenant, e.model, e.content_hash) = (w.tenant, %(model)s, w.content_hash))
), requested as (
    insert into varve.embedding_requests (tenant, model, content_hash, content)
    select tenant, %(model)s, content_hash, content from missing order by tenant, content_hash
    on conflict do nothing
)
select tenant, content_hash from missing
"""


class SearchVectorLeg(Projection):
    """Takes vectors from the cache; what is not there yet it asks for, and waits.

    Only this lane waits: the text leg, other projections and every transaction go on while the embedder works. A
    passage that the embedder refuses is left out; words still find it.
    """

    NAME: ClassVar[str] = "search_vector"
    EVENTS: ClassVar[frozenset[type[Event]]] = SEARCHED_EVENTS
    TABLES: ClassVar[tuple[str, ...]] = ("sources", "vectors", "vector_tags", "vector_stats")
    LANES: ClassVar[int] = 2
    BATCH: ClassVar[int] = 200
    IS_PIPELINED: ClassVar[bool] = True
    IS_HEAVY: ClassVar[bool] = True

    def __init__(self, model: EmbeddingModel, sources: SourceReader, wake_embedder: Callable[[], None]) -> None:
        self._model = model
        self._sources = sources
        self._wake_embedder = wake_embedder
        self._waiting: dict[_Batch, _Looked] = {}

    def ddl(self) -> str:
        tables = statement("vector_tables").replace("{dimension}", str(self._model.dimension))
        return SOURCES_DDL + tables + statement("vector_keys")

    def indexes(self) -> str:
        return statement("vector_indexes")

    def definition(self) -> str:
        return f"{super().definition()} {self._model.key}"

    def weight(self, recorded: RecordedEvent) -> int:
        return weight(recorded)

    async def prepare(
        self, connection: Connection, generation: Generation, events: Sequence[RecordedEvent]
    ) -> "_Looked":
        batch = generation, tuple(event.position for event in events)
        if (looked := self._waiting.pop(batch, None)) is not None:
            return looked
        changed = await self._sources.changed(connection, generation.tables(self.TABLES), "vectors", events)
        return _Looked(batch, changed)

    async def work_out(self, generation: Generation, prepared: "_Looked", connect: Connect) -> SourceChanges:
        if prepared.chunks is None:
            prepared.changes = await self._sources.cut(prepared.changes)
            prepared.chunks = sorted(prepared.changes.chunks, key=lambda chunk: chunk.source.event_position)
        async with connect() as connection:
            missing_from = await self._first_missing(connection, prepared, prepared.chunks)
        if missing_from is not None:
            self._wake_embedder()
            self._keep(prepared)
            raise NotReadyError("passages wait for their vectors", ready_to=missing_from - 1)
        return prepared.changes

    async def _first_missing(self, connection: Connection, looked: "_Looked", chunks: Sequence[Chunk]) -> int | None:
        """Ask for vectors that are not there, of some passages ahead; return the first event that lacks one."""
        first: int | None = None
        slices_that_wait = 0
        async for some in slices_of(chunks[looked.ready :]):
            keys = [(chunk.source.tenant, chunk.content_hash) for chunk in some]
            missing = await self._missing(connection, some, keys)
            if missing and first is None:
                number = next(index for index, key in enumerate(keys) if key in missing)
                first = some[number].source.event_position
                looked.ready += number
            elif first is None:
                looked.ready += len(some)
            slices_that_wait += bool(missing)
            if slices_that_wait == _SLICES_AHEAD:
                break
        return first

    async def _missing(
        self, connection: Connection, chunks: Sequence[Chunk], keys: Sequence[tuple[str, bytes]]
    ) -> set[tuple[str, bytes]]:
        parameters = {
            "tenants": [tenant for tenant, _ in keys],
            "content_hashes": [content_hash for _, content_hash in keys],
            "contents": [chunk.passage.embedded for chunk in chunks],
            "model": self._model.key,
        }
        return set(await (await connection.execute(_REQUEST, parameters)).fetchall())

    def _keep(self, looked: "_Looked") -> None:
        """Keep what a large batch was found to change: to cut it once more at each look takes longer than to embed."""
        if len(looked.changes.chunks) > _LARGE:
            self._waiting[looked.batch] = looked
        while len(self._waiting) > self.LANES:
            del self._waiting[next(iter(self._waiting))]

    async def apply(
        self, connection: Connection, generation: Generation, events: Sequence[RecordedEvent], prepared: SourceChanges
    ) -> None:
        tables = generation.tables(self.TABLES)
        await SOURCES.save(connection, tables["sources"], prepared.sources.values())
        counts: Counter[str] = Counter()
        async for numbers in removals(prepared.removed):
            removed = await connection.execute(statement("vector_remove").format(**tables), numbers)
            for tenant, chunks in await removed.fetchall():
                counts[tenant] -= chunks
        async for some in slices_of(prepared.chunks):
            added = await connection.execute(
                statement("vector_add").format(**tables), chunk_columns(some) | {"model": self._model.key}
            )
            known = await added.fetchall()
            if len(known) != len(some):
                raise NotReadyError("a vector was evicted from the cache in between")
            counts.update(tenant for tenant, _, is_added in known if is_added)
        await _count(connection, tables, counts)


_Batch = tuple[Generation, tuple[int, ...]]


@dataclass(slots=True)
class _Looked:
    """What a batch changes, and how far its vectors are known to be there.

    Attributes:
        batch: the generation, and the positions of the events.
        changes: what they change.
        chunks: the chunks of that in the order of their events, once they are cut.
        ready: of how many of them, from the first, the vectors are there.
    """

    batch: _Batch
    changes: SourceChanges
    chunks: Sequence[Chunk] | None = None
    ready: int = 0


async def _count(connection: Connection, tables: Mapping[str, str], counts: Counter[str]) -> None:
    tenants = sorted(tenant for tenant, change in counts.items() if change)
    if tenants:
        parameters = {"tenants": tenants, "changes": [counts[tenant] for tenant in tenants]}
        await connection.execute(statement("vector_count").format(**tables), parameters)
        await connection.execute(statement("vector_prune").format(**tables), parameters)
