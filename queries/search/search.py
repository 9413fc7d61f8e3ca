"""SearchIndexView: asks the text leg and the vector leg, and makes one ranking of their answers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from time import perf_counter
from typing import Any

import orjson

from domain.shared.text import Analyzer, Embedder
from eventstore.errors import StoreUnavailable
from eventstore.fault_log import FAULTS
from eventstore.position import LogPosition
from eventstore.turns import made_in_turns
from queries.access import visible_to
from queries.message import Answer, Asking, QueryHandler, answer_of
from queries.ports import Question, Reading, Row
from queries.search.filters import FIELDS, conditions, names_of, of_vectors
from queries.search.highlight import highlight
from queries.search.message import (
    TEXT,
    VECTOR,
    FoundPassage,
    GroupBy,
    Leg,
    Legs,
    Mode,
    Scores,
    Search,
    SearchHit,
    SearchResults,
)
from queries.search.ranking import FusionWeights, ranking_of
from queries.search.records import CompletedSearch, SearchRecords
from queries.search.statements import statement

_MODELS: dict[Leg, str] = {"text": TEXT, "vector": VECTOR}
_TABLES = {
    **{name: f"{{{TEXT}.{name}}}" for name in ("chunks", "postings", "tags", "terms", "stats")},
    **{name: f"{{{VECTOR}.{name}}}" for name in ("vectors", "vector_tags", "vector_stats")},
}
_FURTHER, _FURTHEST = 10, 10_000
_MOST_EF_SEARCH = 1000  # the extension's limit
_WAYS: dict[Mode, Sequence[Legs]] = {
    "hybrid": [("text", "vector"), ("text",), ("vector",)],
    "text": [("text",)],
    "vector": [("vector",)],
}
"""The legs that are asked, and those that are asked alone when the ones before have no answer."""


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
        exact_below: up to how many passages that match every vector is compared, instead of asking the graph.
        step_cost: how many comparisons cost as much as a step of the graph; decides above that number.
        ef_search: how many near vectors the graph keeps in view.
        max_scan_tuples: how many vectors the graph may look at before it gives up on a narrow filter.
    """

    weights: FusionWeights = field(default_factory=FusionWeights)
    top: int = 100
    candidates: int = 300
    rare_terms: int = 8
    posting_budget: int = 10_000
    exact_below: int = 60_000
    step_cost: int = 20
    ef_search: int = 400
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
                query=query,
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
        self._terms = set(analyzer.terms(query.q))
        self._visible, access = visible_to(asking.actor, "c")
        self._parameters: dict[str, Any] = {
            **access,
            **query.model_dump(include=set(FIELDS)),
            "terms": sorted(self._terms),
            "rare_terms": settings.rare_terms,
            "posting_budget": settings.posting_budget,
            "exact_below": settings.exact_below,
            "step_cost": settings.step_cost,
            "limit": query.limit,
            "vector_weight": settings.weights.of(query.q),
        }
        self._graph_settings = {
            # The planner takes every tenant for an average one and would rather sort all that a large one has.
            "enable_sort": "off",
            "hnsw.iterative_scan": "relaxed_order",
            "hnsw.max_scan_tuples": str(settings.max_scan_tuples),
        }

    async def run(self) -> Answer[SearchResults]:
        found = await self._enough()
        degraded = [leg for leg in _WAYS[self._query.mode][0] if leg not in found.legs]
        positions = {leg: found.reading.positions[_MODELS[leg]] for leg in found.legs}
        epoch = found.reading.epoch
        results = SearchResults(
            # To highlight one takes up to some ten milliseconds.
            hits=await made_in_turns(lambda row: self._hit(row, epoch), found.hits),
            mode=self._query.mode,
            degraded=degraded,
            positions={leg: str(LogPosition(epoch, position)) for leg, position in positions.items()},
            generations={leg: found.reading.generations[_MODELS[leg]] for leg in found.legs},
            model=self._embedder.model.key,
        )
        answer = answer_of(results, found.reading)
        return replace(answer, positions={}) if degraded else answer  # not kept: the next one may have both legs

    async def _enough(self) -> "_Found":
        """Look further while there are more passages, and those that were named make fewer hits than are wanted.

        Either they fold to few sources, or the vector leg is behind and names what the text leg no longer has.
        """
        top = self._settings.top
        while True:
            self._look_as_far_as(top)
            found = await self._answered()
            if len(found.hits) >= self._query.limit or found.chunks < top or top >= _FURTHEST:
                return found
            top *= _FURTHER

    def _look_as_far_as(self, top: int) -> None:
        self._parameters["top"] = top
        self._parameters["candidates"] = max(self._settings.candidates, top)
        self._parameters["wanted"] = self._query.limit if self._query.group_by is None else top
        self._graph_settings["hnsw.ef_search"] = str(min(max(top, self._settings.ef_search), _MOST_EF_SEARCH))

    async def _answered(self) -> "_Found":
        """Ask both legs in one statement or, when one of them is away, the other one alone.

        Raises:
            StoreUnavailable: none answers.
        """
        for legs in _WAYS[self._query.mode]:
            try:
                return await self._ask(legs)
            except Exception as error:  # noqa: BLE001 - whatever is wrong with one leg, the other one goes on
                FAULTS.note("search.leg_away", error, legs=legs)
        raise StoreUnavailable(f"no leg of the search answers: {self._query.mode}")

    async def _ask(self, legs: Legs) -> "_Found":
        settings: Mapping[str, str] = {}
        if "vector" in legs:
            (vector,) = await self._embedder.embed([self._query.q])
            self._parameters["embedding"] = orjson.dumps(list(vector)).decode()
            settings = self._graph_settings
        models = tuple(_MODELS[leg] for leg in legs)
        sql = _search_sql(legs, names_of(self._query), self._visible, self._query.group_by)
        question = Question(models, sql, dict(self._parameters), dict(settings))
        reading = await self._asking.read_models.read(self._asking.actor, question)
        if "vector" in legs and not reading.definitions[VECTOR].endswith(self._embedder.model.key):
            raise OtherModelError(reading.definitions[VECTOR])
        return _Found(legs, reading)

    def _hit(self, row: Row, epoch: str) -> SearchHit:
        return SearchHit(
            source_kind=row["source_kind"],
            source_id=row["source_id"],
            title=row["title"],
            score=row["score"],
            scores=Scores(text=row["text"], vector=row["cosine"]),
            passage=FoundPassage(
                text=row["content"],
                ordinal=row["ordinal"],
                start=row["start_offset"],
                end=row["end_offset"],
                heading_path=row["heading_path"],
                page=row["page"],
                content_hash=row["content_hash"].hex(),
                highlight=highlight(row["content"], self._terms, self._analyzer),
            ),
            language=row["language"],
            entity_type=row["entity_type"],
            category=row["category"],
            tags=row["tags"],
            owner=row["owner"],
            created_at=row["created_at"],
            position=str(LogPosition(epoch, row["event_position"])),
        )


@dataclass(frozen=True, slots=True)
class _Found:
    """What some legs have answered together."""

    legs: Legs
    reading: Reading

    @property
    def chunks(self) -> int:
        """How many chunks were ranked: at the most as many as each leg was to name, together."""
        chunks: int = self.reading.rows[0]["chunks_ranked"]
        return chunks

    @property
    def hits(self) -> Sequence[Row]:
        """What is shown, best first."""
        return [row for row in self.reading.rows if row["chunk"] is not None]


@cache
def _search_sql(legs: Legs, filters: tuple[str, ...], visible: str, group_by: GroupBy | None) -> str:
    """Return the statement that asks `legs`, and shows the best of what they find."""
    shared = {**_TABLES, "visible": visible}
    by_leg = {
        "text": statement("text_search").format(**shared, filters=conditions(filters).format(**_TABLES)),
        "vector": statement("vector_search").format(**shared, **of_vectors(filters, _TABLES)),
    }
    found = by_leg[legs[0]]
    if len(legs) > 1:
        found = statement("hybrid_search").format(**_TABLES, text_search=by_leg["text"], vector_search=by_leg["vector"])
    return statement("ranked").format(
        found=found,
        shown=_TABLES["chunks" if "text" in legs else "vectors"],
        visible=visible,
        **ranking_of(legs, group_by),
    )
