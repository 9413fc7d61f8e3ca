"""SearchIndexView, vector leg: the vector of every passage under an HNSW index, of one embedding model."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import ClassVar

from domain.shared.events import Event
from domain.shared.text import EmbeddingModel
from eventstore.records import RecordedEvent
from projections.definition import Connection, Generation, NotReadyError, Projection
from projections.search.source_rows import SEARCHED_EVENTS, SOURCES, SOURCES_DDL
from projections.search.sources import SourceChanges, SourceReader, chunk_columns, weight
from projections.search.statements import statement

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

    Only this lane waits: the text leg, other projections and every transaction go on while the embedder works.
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
    ) -> SourceChanges:
        changes = await self._sources.changes(connection, generation.table("sources"), events)
        keys = [(chunk.source.tenant, chunk.content_hash) for chunk in changes.chunks]
        parameters = {
            "tenants": [tenant for tenant, _ in keys],
            "content_hashes": [content_hash for _, content_hash in keys],
            "contents": [chunk.passage.embedded for chunk in changes.chunks],
            "model": self._model.key,
        }
        missing = set(await (await connection.execute(_REQUEST, parameters)).fetchall())
        if missing:
            self._wake_embedder()
            waiting = [
                chunk.source.event_position for chunk, key in zip(changes.chunks, keys, strict=True) if key in missing
            ]
            raise NotReadyError(f"{len(missing)} passages wait for their vectors", ready_to=min(waiting) - 1)
        return changes

    async def apply(
        self, connection: Connection, generation: Generation, events: Sequence[RecordedEvent], prepared: SourceChanges
    ) -> None:
        tables = generation.tables(self.TABLES)
        await SOURCES.save(connection, tables["sources"], prepared.sources.values())
        counts: Counter[str] = Counter()
        removed = await connection.execute(statement("vector_remove").format(**tables), prepared.keys)
        for tenant, chunks in await removed.fetchall():
            counts[tenant] -= chunks
        added = await connection.execute(
            statement("vector_add").format(**tables), chunk_columns(prepared.chunks) | {"model": self._model.key}
        )
        if len(await added.fetchall()) != len(prepared.chunks):
            raise NotReadyError("a vector was evicted from the cache in between")
        counts.update(chunk.source.tenant for chunk in prepared.chunks)
        await _count(connection, tables, counts)


async def _count(connection: Connection, tables: Mapping[str, str], counts: Counter[str]) -> None:
    tenants = sorted(tenant for tenant, change in counts.items() if change)
    if tenants:
        parameters = {"tenants": tenants, "changes": [counts[tenant] for tenant in tenants]}
        await connection.execute(statement("vector_count").format(**tables), parameters)
        await connection.execute(statement("vector_prune").format(**tables), parameters)
