"""A search index in a database of its own, written and asked by the SQL files as the roles of the real thing."""

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any, LiteralString, cast
from uuid import UUID

import psycopg
from psycopg.rows import dict_row

from domain.shared.access import Actor
from queries.access import visible_to
from queries.search.filters import FIELDS, conditions, names_of, of_vectors
from queries.search.message import GroupBy, Leg, Legs, Search
from queries.search.ranking import ranking_of
from tests.reads.search.ranking_model import Candidate
from varve.pools import session_limits
from varve.settings import DatabaseRole
from workers.text_analyzer import TextAnalyzer

_ROOT = Path(__file__).parents[3]
_TABLES = ("chunks", "postings", "tags", "terms", "stats", "vectors", "vector_tags", "vector_stats")
_NAMES = {name: f"read_models.search_1_{name}" for name in _TABLES}
_MODEL = "hashing@1"
_CREATED_AT = datetime(2026, 1, 1, tzinfo=UTC)
# Sorting is made unattractive, so that a test's few rows take the way that a large tenant's take.
_CONFIGURE = """
select set_config('role', %s, true), set_config('varve.tenant', %s, true), set_config('enable_sort', 'off', true),
       set_config('hnsw.iterative_scan', 'relaxed_order', true), set_config('hnsw.ef_search', '100', true)
"""
_FOUND = """
select * from unnest(%(chunk)s::bigint[], %(source_kind)s::text[], %(source_id)s::uuid[], %(text)s::float8[],
                     %(cosine)s::float8[]) found (chunk, source_kind, source_id, text, cosine)
"""
_LIMIT = "select set_config(%s, %s, true)"


@dataclass(frozen=True)
class Passage:
    """A chunk as a test states it."""

    position: int
    source: UUID
    content: str
    tenant: str = "acme"
    title: str = ""
    ordinal: int = 0
    source_kind: str = "entry"
    entity_type: str | None = "note"
    category: str | None = None
    tags: tuple[str, ...] = ()
    owner: str = "ann"
    visibility: str = "tenant"

    @property
    def chunk(self) -> int:
        return self.position << 20 | self.ordinal

    @property
    def indexed_text(self) -> str:
        return f"{self.title}\n{self.content}"

    @property
    def content_hash(self) -> bytes:
        return sha256(self.indexed_text.encode()).digest()

    def frequencies(self) -> Counter[str]:
        return Counter(TextAnalyzer().terms(self.indexed_text))


class SearchIndex:
    """Writes as the projector, reads as the reader."""

    def __init__(self, connection: psycopg.Connection[Any]) -> None:
        self._connection = connection

    def create(self) -> None:
        for name in ("text_tables", "text_keys", "vector_tables", "vector_keys", "vector_indexes"):
            self._write(name)
        for table in _NAMES.values():
            self._as("varve_projector", f"alter table {table} enable row level security")
            self._as(
                "varve_projector",
                f"create policy own_tenant on {table} for select to varve_reader "
                "using (tenant = (select varve.tenant()))",
            )
            self._as("varve_projector", f"grant select on {table} to varve_reader")

    def clear(self) -> None:
        self._as("varve_projector", f"truncate {', '.join(_NAMES.values())}")
        self._as("varve_projector", "delete from varve.embeddings")

    def rows(self, table: str) -> list[dict[str, Any]]:
        return self._as("varve_projector", f"select * from {_NAMES[table]} order by 1, 2")

    def replace(self, passages: Sequence[Passage], *, sources: Iterable[tuple[str, UUID]]) -> None:
        """Remove `sources` from both legs and add `passages`, as a projection does it in one transaction."""
        keys = sorted(set(sources), key=str)
        with self._connection.transaction():
            self._replace_text(passages, self._chunks_of("chunks", keys))
            self._replace_vectors(passages, self._chunks_of("vectors", keys))

    def _chunks_of(self, table: str, sources: Sequence[tuple[str, UUID]]) -> Mapping[str, Any]:
        wanted = "select * from unnest(%s::text[], %s::uuid[])"
        sql = f"select tenant, chunk from {_NAMES[table]} where (tenant, source_id) in ({wanted})"
        found = self._as("varve_projector", sql, [list(column) for column in zip(*sources, strict=True)] or [[], []])
        return {"tenants": [row["tenant"] for row in found], "chunks": [row["chunk"] for row in found]}

    def cache_vectors(self, passages: Iterable[Passage], vectors: Iterable[Sequence[float]]) -> None:
        for passage, vector in zip(passages, vectors, strict=True):
            self._as(
                "varve_projector",
                "insert into varve.embeddings values (%s, %s, %s, %s::vector) on conflict do nothing",
                (passage.tenant, _MODEL, passage.content_hash, str(list(vector))),
            )

    def ask(self, name: str, actor: Actor, **parameters: Any) -> list[dict[str, Any]]:
        return self._as("varve_reader", *self._question(name, actor, parameters), tenant=actor.tenant)

    def plan(self, name: str, actor: Actor, **parameters: Any) -> list[str]:
        sql, values = self._question(name, actor, parameters)
        rows = self._as(
            "varve_reader", f"explain (analyze, costs off, timing off, buffers off) {sql}", values, tenant=actor.tenant
        )
        return [row["QUERY PLAN"] for row in rows]

    def rank(
        self, found: Sequence[Candidate], legs: Legs, actor: Actor, group_by: GroupBy | None, **parameters: Any
    ) -> list[dict[str, Any]]:
        """Rank what legs are said to have found, as the search does."""
        visible, access = visible_to(actor, "c")
        sql = _statement("ranked").format(
            found=_FOUND,
            shown=_NAMES["chunks" if "text" in legs else "vectors"],
            visible=visible,
            **ranking_of(legs, group_by),
        )
        columns = {name: [getattr(each, name) for each in found] for name in Candidate._fields}
        return self._as("varve_reader", sql, {**columns, **access, **parameters}, tenant=actor.tenant)

    def show(self, passage: Passage, leg: Leg, actor: Actor) -> list[dict[str, Any]]:
        """Return what is shown of a passage that `leg` is said to have found: one row, or none."""
        found = Candidate(passage.chunk, "entry", passage.source, text=1.0, cosine=1.0)
        return [row for row in self.rank([found], (leg,), actor, None, limit=1) if row["chunk"] is not None]

    def _question(self, name: str, actor: Actor, parameters: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
        visible, access = visible_to(actor, "c")
        fields = _NAMES | {"visible": visible}
        filters = names_of(Search(q="-", **{each: parameters[each] for each in FIELDS & parameters.keys()}))
        searches = {
            "text_search": _statement("text_search").format(**fields, filters=conditions(filters).format(**fields)),
            "vector_search": _statement("vector_search").format(**fields, **of_vectors(filters, fields)),
        }
        sql = searches.get(name) or _statement(name).format(**fields, **searches)
        return sql, {**parameters, **access}

    def _replace_text(self, passages: Sequence[Passage], gone: Mapping[str, Any]) -> None:
        changes: Counter[tuple[str, str]] = Counter()
        chunks: Counter[str] = Counter()
        lengths: Counter[str] = Counter()
        for row in self._write("text_remove", gone):
            chunks[row["tenant"]] -= row["chunks"]
            lengths[row["tenant"]] -= int(row["length"])
            terms = (row["terms"] or "").split()
            for term, number in zip(terms[::2], terms[1::2], strict=True):
                changes[row["tenant"], term] -= int(number)
        for passage in passages:
            frequencies = passage.frequencies()
            changes.update((passage.tenant, term) for term in frequencies)
            chunks[passage.tenant] += 1
            lengths[passage.tenant] += frequencies.total()
        if passages:
            self._write("text_add", _text_columns(passages))
        net = sorted((key, change) for key, change in changes.items() if change)
        keys = {"tenants": [tenant for (tenant, _), _ in net], "terms": [term for (_, term), _ in net]}
        self._write("text_count", {**keys, "changes": [change for _, change in net]})
        tenants = sorted(chunks)
        totals = {"chunks": [chunks[tenant] for tenant in tenants], "lengths": [lengths[tenant] for tenant in tenants]}
        self._write("text_count_stats", {"tenants": tenants, **totals})
        self._write("text_prune", keys)
        self._write("text_prune_stats", {"tenants": tenants})

    def _replace_vectors(self, passages: Sequence[Passage], gone: Mapping[str, Any]) -> None:
        changes: Counter[str] = Counter()
        for row in self._write("vector_remove", gone):
            changes[row["tenant"]] -= row["chunks"]
        if passages:
            added = self._write("vector_add", {**_columns(passages), "model": _MODEL})
            changes.update(row["tenant"] for row in added)
        tenants = sorted(changes)
        self._write("vector_count", {"tenants": tenants, "changes": [changes[tenant] for tenant in tenants]})
        self._write("vector_prune", {"tenants": tenants})

    def _write(self, name: str, parameters: Mapping[str, Any] | None = None) -> list[dict[str, Any]]:
        sql = (_ROOT / f"projections/search/sql/{name}.sql").read_text(encoding="utf-8")
        return self._as("varve_projector", sql.format(**_NAMES, dimension=384), parameters)

    def _as(self, role: DatabaseRole, sql: str, parameters: Any = None, *, tenant: str = "") -> list[dict[str, Any]]:
        with self._connection.transaction(), self._connection.cursor(row_factory=dict_row) as cursor:
            cursor.execute(_CONFIGURE, (role, tenant))
            if role == "varve_reader":
                cursor.executemany(_LIMIT, session_limits(role).items())
            cursor.execute(cast("LiteralString", sql), parameters)
            return cursor.fetchall() if cursor.description else []


def _statement(name: str) -> str:
    return (_ROOT / f"queries/search/sql/{name}.sql").read_text(encoding="utf-8")


def _columns(passages: Sequence[Passage]) -> dict[str, list[Any]]:
    return {
        "tenants": [passage.tenant for passage in passages],
        "chunks": [passage.chunk for passage in passages],
        "source_kinds": [passage.source_kind for passage in passages],
        "source_ids": [passage.source for passage in passages],
        "ordinals": [passage.ordinal for passage in passages],
        "titles": [passage.title for passage in passages],
        "heading_paths": [json.dumps(["Part", "one, two"])] * len(passages),
        "contents": [passage.content for passage in passages],
        "start_offsets": [0] * len(passages),
        "end_offsets": [len(passage.content) for passage in passages],
        "pages": [None] * len(passages),
        "languages": ["en"] * len(passages),
        "content_hashes": [passage.content_hash for passage in passages],
        "entity_types": [passage.entity_type for passage in passages],
        "categories": [passage.category for passage in passages],
        "tags": [json.dumps(passage.tags) for passage in passages],
        "owners": [passage.owner for passage in passages],
        "visibilities": [passage.visibility for passage in passages],
        "created_at": [_CREATED_AT] * len(passages),
        "event_positions": [passage.position for passage in passages],
    }


def _text_columns(passages: Sequence[Passage]) -> dict[str, list[Any]]:
    frequencies = [passage.frequencies() for passage in passages]
    return _columns(passages) | {
        "lengths": [counts.total() for counts in frequencies],
        "terms": [" ".join(counts) for counts in frequencies],
        "frequencies": [" ".join(map(str, counts.values())) for counts in frequencies],
    }
