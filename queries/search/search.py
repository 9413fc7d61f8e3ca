"""SearchIndexView: asks the text leg and the vector leg, and makes one ranking of their answers."""

import asyncio
from collections.abc import Coroutine, Mapping
from dataclasses import dataclass, field, replace
from time import perf_counter
from typing import Any, TypeVar

import structlog

from domain.shared.text import Analyzer, Embedder
from eventstore.errors import StoreUnavailable
from eventstore.position import LogPosition
from queries.access import visible_to
from queries.message import Answer, Asking, QueryHandler
from queries.ports import Question, Reading, Row
from queries.search.highlight import highlight
from queries.search.message import TEXT, VECTOR, FoundPassage, Leg, Scores, Search, SearchHit, SearchResults
from queries.search.ranking import (
    Candidate,
    FusionWeights,
    Hit,
    missing_scores,
    rank_by_both,
    rank_by_cosine,
    rank_by_text,
    united,
    with_scores,
)
from queries.search.records import CompletedSearch, SearchRecords
from queries.search.statements import statement

log = structlog.get_logger()

T = TypeVar("T")

_LEGS: tuple[Leg, ...] = ("text", "vector")
_MODELS: dict[Leg, str] = {"text": TEXT, "vector": VECTOR}
_TABLES: dict[Leg, dict[str, str]] = {
    "text": {name: f"{{{TEXT}.{name}}}" for name in ("chunks", "postings", "tags", "terms", "stats")},
    "vector": {name: f"{{{VECTOR}.{name}}}" for name in ("vectors", "vector_tags", "vector_stats")},
}
_TAGS: dict[Leg, str] = {"text": _TABLES["text"]["tags"], "vector": _TABLES["vector"]["vector_tags"]}
_FILTERS = {
    "kind": "c.source_kind = %(kind)s",
    "entity_type": "c.entity_type = %(entity_type)s",
    "category": "c.category = %(category)s",
    "document_id": "c.source_kind = 'document' and c.source_id = %(document_id)s",
    "tag": "exists (select from {tags} t where t.tenant = c.tenant and t.tag = %(tag)s and t.chunk = c.chunk)",
}


class OtherModelError(Exception):
    """The live vectors are of another model than questions are embedded with: the next generation is being built."""


@dataclass(frozen=True, slots=True)
class SearchSettings:
    """What the ranking goes by.

    Attributes:
        weights: the share of the vector leg.
        top: how many passages each leg names.
        candidates: how many passages the text leg scores with all terms.
        rare_terms: how many of the rarest terms name candidates.
        posting_budget: how many postings are read whatever their terms' frequency.
        exact_below: up to how many passages of a tenant every vector is compared, instead of asking the graph.
        max_scan_tuples: how many vectors the graph may look at before it gives up on a narrow filter.
    """

    weights: FusionWeights = field(default_factory=FusionWeights)
    top: int = 100
    candidates: int = 300
    rare_terms: int = 8
    posting_budget: int = 10_000
    exact_below: int = 5_000
    max_scan_tuples: int = 40_000


def search_handler(
    embedder: Embedder, analyzer: Analyzer, settings: SearchSettings, records: SearchRecords
) -> QueryHandler[Search, Any]:
    """Return the handler that asks with this model and analyzer; indexing must have used the same."""

    async def search(query: Search, asking: Asking) -> Answer[SearchResults]:
        began = perf_counter()
        answer = await _Searching(query, asking, embedder, analyzer, settings).run()
        records.note(
            CompletedSearch(
                tenant=asking.actor.tenant,
                question=query.model_dump_json(),
                mode=query.mode,
                seconds=perf_counter() - began,
                hits=len(answer.value.hits),
            )
        )
        return answer

    return search


class _Searching:
    """One search: what its steps share."""

    def __init__(
        self, query: Search, asking: Asking, embedder: Embedder, analyzer: Analyzer, settings: SearchSettings
    ) -> None:
        self._query = query
        self._asking = asking
        self._embedder = embedder
        self._analyzer = analyzer
        self._settings = settings
        self._terms = sorted(set(analyzer.terms(query.q)))
        self._visible, access = visible_to(asking.actor, "c")
        self._parameters: dict[str, Any] = {
            **access,
            **query.model_dump(include=set(_FILTERS)),
            "terms": self._terms,
            "rare_terms": settings.rare_terms,
            "posting_budget": settings.posting_budget,
            "candidates": settings.candidates,
            "top": settings.top,
        }
        self._graph_settings = {
            "hnsw.iterative_scan": "relaxed_order",
            "hnsw.ef_search": str(settings.top),
            "hnsw.max_scan_tuples": str(settings.max_scan_tuples),
        }
        self._readings: dict[Leg, Reading] = {}

    async def run(self) -> Answer[SearchResults]:
        asked = [leg for leg in _LEGS if self._query.mode in {"hybrid", leg}]
        ways = {"text": self._by_text, "vector": self._by_vector}
        answers = await asyncio.gather(*(self._or_none(leg, ways[leg]()) for leg in asked))
        found = {leg: answer for leg, answer in zip(asked, answers, strict=True) if answer is not None}
        if not found:
            raise StoreUnavailable(f"no leg of the search answers: {', '.join(asked)}")
        degraded = [leg for leg in asked if leg not in found]
        hits = (await self._ranked(found))[: self._query.limit]
        return self._answer(await self._shown(hits), degraded)

    async def _or_none(self, leg: Leg, answer: Coroutine[Any, Any, list[T]]) -> list[T] | None:
        """Return a leg's answer, or None when it is away: the other one answers then."""
        try:
            return await answer
        except Exception as error:  # noqa: BLE001 - whatever is wrong with one leg, the other one goes on
            log.warning("search.leg_away", leg=leg, error=repr(error))
            return None

    async def _by_text(self) -> list[Candidate]:
        rows = await self._ask("text", "text_search", self._conditions("text"))
        return [Candidate(row["chunk"], row["source_kind"], row["source_id"], text=float(row["score"])) for row in rows]

    async def _by_vector(self) -> list[Candidate]:
        (vector,) = await self._embedder.embed([self._query.q])
        self._parameters["embedding"] = str(list(vector))
        (count,) = await self._ask("vector", "vector_count", {})
        way = "exact" if count["chunks"] <= self._settings.exact_below else "graph"
        rows = await self._ask("vector", f"vector_search_{way}", self._conditions("vector"))
        return [
            Candidate(row["chunk"], row["source_kind"], row["source_id"], cosine=float(row["cosine"])) for row in rows
        ]

    async def _ranked(self, found: Mapping[Leg, list[Candidate]]) -> list[Hit]:
        """Rank what the legs found: passages as they are, or folded to entries and documents."""
        if len(found) == 1:
            ((leg, candidates),) = found.items()
            return {"text": rank_by_text, "vector": rank_by_cosine}[leg](self._grouped(candidates))
        candidates = united(found["text"], found["vector"])
        without_text, without_cosine = missing_scores(candidates)
        texts, cosines = await asyncio.gather(
            self._or_none("text", self._ask("text", "text_scores", {}, chunks=without_text)),
            self._or_none("vector", self._ask("vector", "vector_scores", {}, chunks=without_cosine)),
        )
        scored = with_scores(
            candidates,
            text={row["chunk"]: float(row["score"]) for row in texts or ()},
            cosine={row["chunk"]: float(row["cosine"]) for row in cosines or ()},
        )
        return rank_by_both(self._grouped(scored), vector_weight=self._settings.weights.of(self._query.q))

    def _grouped(self, candidates: list[Candidate]) -> list[Candidate]:
        """Return the candidates as the ranking folds them: each by itself, unless they are to be grouped."""
        if self._query.group_by is not None:
            return candidates
        return [replace(candidate, group=candidate.chunk) for candidate in candidates]

    async def _ask(self, leg: Leg, name: str, fields: Mapping[str, str], **parameters: Any) -> list[Row]:
        """Ask one of the SQL files of one leg."""
        sql = statement(name).format(**_TABLES[leg], **fields)
        settings = self._graph_settings if name == "vector_search_graph" else {}
        question = Question((_MODELS[leg],), sql, {**self._parameters, **parameters}, settings)
        reading = await self._asking.read_models.read(self._asking.actor, question)
        if leg == "vector" and not reading.definitions[VECTOR].endswith(self._embedder.model.key):
            raise OtherModelError(reading.definitions[VECTOR])
        self._readings.setdefault(leg, reading)
        return list(reading.rows)

    def _conditions(self, leg: Leg) -> dict[str, str]:
        given = [sql for name, sql in _FILTERS.items() if getattr(self._query, name) is not None]
        filters = " ".join(f"and {sql}" for sql in given).format(tags=_TAGS[leg])
        return {"visible": self._visible, "filters": filters}

    async def _shown(self, hits: list[Hit]) -> list[SearchHit]:
        """Return hits with their best passage; one that was deleted in between is left out."""
        fields = {"visible": self._visible}
        rows = await self._ask("text", "chunks", fields, chunks=[hit.chunks[0] for hit in hits])
        by_chunk = {row["chunk"]: row for row in rows}
        return [self._hit(hit, by_chunk[hit.chunks[0]]) for hit in hits if hit.chunks[0] in by_chunk]

    def _hit(self, hit: Hit, row: Row) -> SearchHit:
        return SearchHit(
            source_kind=hit.source_kind,
            source_id=hit.source_id,
            title=row["title"],
            score=hit.score,
            scores=Scores(text=hit.text, vector=hit.cosine),
            passage=FoundPassage(
                text=row["content"],
                ordinal=row["ordinal"],
                start=row["start_offset"],
                end=row["end_offset"],
                heading_path=row["heading_path"],
                page=row["page"],
                content_hash=row["content_hash"].hex(),
                highlight=highlight(row["content"], set(self._terms), self._analyzer),
            ),
            language=row["language"],
            entity_type=row["entity_type"],
            category=row["category"],
            tags=row["tags"],
            owner=row["owner"],
            created_at=row["created_at"],
            position=str(LogPosition(self._epoch(), row["event_position"])),
        )

    def _epoch(self) -> str:
        return next(iter(self._readings.values())).epoch

    def _answer(self, hits: list[SearchHit], degraded: list[Leg]) -> Answer[SearchResults]:
        epoch = self._epoch()
        positions = {leg: reading.position for leg, reading in self._readings.items()}
        results = SearchResults(
            hits=hits,
            mode=self._query.mode,
            degraded=degraded,
            positions={leg: str(LogPosition(epoch, position)) for leg, position in positions.items()},
            generations={leg: reading.generations[_MODELS[leg]] for leg, reading in self._readings.items()},
            model=self._embedder.model.key,
        )
        parked = sum(reading.parked for reading in self._readings.values())
        # Without a leg it is not kept: the next one may have both.
        made_of = () if degraded else self._readings.values()
        return Answer(
            results,
            min(positions.values()),
            epoch,
            parked,
            {model: position for reading in made_of for model, position in reading.positions.items()},
            {model: version for reading in made_of for model, version in reading.versions.items()},
        )
