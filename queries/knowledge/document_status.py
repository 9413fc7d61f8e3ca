"""DocumentStatusView: one document with its status, and lists of documents."""

import asyncio
import time
from datetime import datetime
from typing import Annotated, Any, ClassVar, Literal
from uuid import UUID

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, TypeAdapter

from domain.knowledge.document import DOCUMENT, DocumentStatus
from domain.knowledge.errors import DocumentNotFound
from domain.knowledge.events import DocumentUploaded
from domain.knowledge.values import Sha256
from domain.shared.access import Permission, Visibility
from domain.shared.values import Label
from queries.access import visible_to
from queries.message import Answer, Asking, Page, Query, Versioned, answer_of
from queries.paging import Order, page_of
from queries.ports import Question

_MODEL = "document_status"
_PAUSE_SECONDS = 0.05
_SETTLED = {DocumentStatus.PROCESSED, DocumentStatus.FAILED, DocumentStatus.DELETED}


class Failure(BaseModel):
    """Why a document could not be read: a stable code and a sentence for its owner."""

    model_config = ConfigDict(frozen=True)

    reason: str
    message: str


class DocumentView(Versioned):
    document_id: UUID
    owner: str
    visibility: Visibility
    file_name: str
    media_type: str
    size: int
    sha256: str
    category: str | None
    tags: list[str]
    status: DocumentStatus
    failure: Failure | None
    title: str | None
    language: str | None
    characters: int | None
    pages: int | None
    chunk_count: int | None
    created_at: datetime
    updated_at: datetime


class GetDocument(Query):
    """`wait_seconds` is how long to wait for the document to be processed, failed or deleted."""

    PERMISSION: ClassVar[Permission] = Permission.KNOWLEDGE_READ
    MODELS: ClassVar[tuple[str, ...]] = (_MODEL,)

    document_id: UUID
    wait_seconds: Annotated[float, Field(ge=0, le=60)] = 0

    def may_be_kept(self) -> bool:
        return not self.wait_seconds


class ListDocuments(Query):
    """Documents that are not deleted, or those of one status, by any of the filters together."""

    PERMISSION: ClassVar[Permission] = Permission.KNOWLEDGE_READ
    MODELS: ClassVar[tuple[str, ...]] = (_MODEL,)
    IS_SHARED: ClassVar[bool] = True

    status: DocumentStatus | None = None
    category: Label | None = None
    sha256: Sha256 | None = None
    owner: Label | None = None
    sort: Literal["created_at", "-created_at"] = "-created_at"
    limit: Annotated[int, Field(ge=1, le=200)] = 50
    cursor: str | None = None


_COLUMNS = ", ".join(f"d.{column}" for column in DocumentView.model_fields if column != "failure")


async def get_document(query: GetDocument, asking: Asking) -> Answer[DocumentView]:
    """Return the document.

    Raises:
        DocumentNotFound: there is none that the actor may see; another tenant's is none.
    """
    access, parameters = visible_to(asking.actor, "d")
    sql = (
        f"select {_COLUMNS}, d.reason, d.message from {{document_status.documents}} d "
        f"where d.document_id = %(document_id)s and {access}"
    )
    question = Question(query.MODELS, sql, {"document_id": query.document_id, **parameters}, is_by_key=True)
    deadline = time.monotonic() + query.wait_seconds
    while True:
        reading = await asking.read_models.read(asking.actor, question)
        document = _view(reading.rows[0]) if reading.rows else None
        is_late = time.monotonic() >= deadline
        if document is not None and (document.status in _SETTLED or is_late):
            return answer_of(document, reading)
        if document is None and (is_late or not await _is_uploaded(query.document_id, asking)):
            raise DocumentNotFound(query.document_id)
        await asyncio.sleep(_PAUSE_SECONDS)


async def _is_uploaded(document_id: UUID, asking: Asking) -> bool:
    """Whether the log has a document that the actor may see: the read model may not have reached its upload yet."""
    stream = await asking.streams.stream(asking.actor.tenant, DOCUMENT.stream(document_id))
    events = await stream.shown(limit=1)
    first = events[0].event if events else None
    return isinstance(first, DocumentUploaded) and asking.actor.sees(first.owner, first.visibility)


async def list_documents(query: ListDocuments, asking: Asking) -> Answer[Page[DocumentView]]:
    """Return a page of documents.

    Raises:
        InvalidCursor: the cursor is not of this list in this order.
    """
    access, parameters = visible_to(asking.actor, "d")
    conditions = [access]
    conditions += ["d.status = %(status)s"] if query.status else ["d.status <> 'deleted'"]
    conditions += [f"d.{name} = %({name})s" for name in ("category", "sha256", "owner") if getattr(query, name)]
    parameters |= query.model_dump(mode="json", exclude={"sort", "cursor"})
    order = Order(query.sort, "d", "document_id")
    if query.cursor is not None:
        after, values = order.after(query.cursor, TypeAdapter(AwareDatetime))
        conditions.append(after)
        parameters |= values
    sql = (
        f"select {_COLUMNS}, d.reason, d.message from {{document_status.documents}} d "
        f"where {' and '.join(conditions)} order by {order.sql} limit %(limit)s + 1"
    )
    reading = await asking.read_models.read(asking.actor, Question(query.MODELS, sql, parameters))
    items = [_view(row) for row in reading.rows]
    page = page_of(items, reading.rows, query.limit, query.sort, ("created_at", "document_id"))
    return answer_of(page, reading)


def _view(row: dict[str, Any]) -> DocumentView:
    failure = None
    if row["status"] == DocumentStatus.FAILED:
        failure = Failure(reason=row["reason"], message=row["message"])
    return DocumentView.model_validate({**row, "failure": failure})
