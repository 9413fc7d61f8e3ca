"""What a search asks, and what it is answered with."""

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, ClassVar, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from domain.shared.access import Permission
from domain.shared.values import Label, Text
from queries.message import Query

TEXT, VECTOR = "search_text", "search_vector"

Leg = Literal["text", "vector"]
Legs = tuple[Leg, ...]
Mode = Literal["hybrid", "text", "vector"]
GroupBy = Literal["document"]
SourceKind = Literal["entry", "document"]


class Search(Query):
    """A question over entries and documents; the filters hold together.

    `group_by` folds the passages of an entry or a document to its best one; without it each passage is a hit.
    """

    PERMISSION: ClassVar[Permission] = Permission.KNOWLEDGE_READ
    MODELS: ClassVar[tuple[str, ...]] = (TEXT, VECTOR)
    IS_SHARED: ClassVar[bool] = True

    q: Annotated[Text, Field(min_length=1, max_length=1000)]
    mode: Mode = "hybrid"
    limit: Annotated[int, Field(ge=1, le=100)] = 10
    group_by: GroupBy | None = None
    kind: SourceKind | None = None
    entity_type: Label | None = None
    category: Label | None = None
    tag: Label | None = None
    document_id: UUID | None = None

    def models(self) -> tuple[str, ...]:
        """The text leg shows every hit; a search by words alone waits for no vectors."""
        return (TEXT,) if self.mode == "text" else self.MODELS


class Highlight(BaseModel):
    """A stretch of the passage, and where in it the question's terms are, as (start, end) offsets into `text`."""

    model_config = ConfigDict(frozen=True)

    text: str
    spans: list[tuple[int, int]]


class FoundPassage(BaseModel):
    """The passage, and where it stands: offsets into the source's text, headings, page, hash of what was embedded."""

    model_config = ConfigDict(frozen=True)

    text: str
    ordinal: int
    start: int
    end: int
    heading_path: list[str]
    page: int | None
    content_hash: str
    highlight: Highlight


class Scores(BaseModel):
    """What each leg gives: BM25, and the cosine; None where the leg does not know the passage."""

    model_config = ConfigDict(frozen=True)

    text: float | None
    vector: float | None


class SearchHit(BaseModel):
    """`position` is the place in the log of the event that carried the passage."""

    model_config = ConfigDict(frozen=True)

    source_kind: SourceKind
    source_id: UUID
    title: str
    score: float
    scores: Scores
    passage: FoundPassage
    language: str | None
    entity_type: str | None
    category: str | None
    tags: list[str]
    owner: str
    created_at: datetime
    position: str


class SearchResults(BaseModel):
    """`degraded` names the legs that were asked for and could not answer; the other one did.

    `positions` and `generations` say, for each leg, how far it was and which generation of its index was used.
    """

    model_config = ConfigDict(frozen=True)

    hits: list[SearchHit]
    mode: Mode
    degraded: list[Leg]
    positions: Mapping[Leg, str]
    generations: Mapping[Leg, int]
    model: str
