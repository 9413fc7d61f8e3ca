"""The passages of one document, in order, as the search index holds them."""

from typing import Annotated, Any, ClassVar
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from domain.knowledge.errors import DocumentNotFound
from domain.shared.access import Permission
from queries.access import visible_to
from queries.message import Answer, Asking, Page, Query, answer_of
from queries.paging import decode_cursor, page_of
from queries.ports import Question

_DOCUMENTS, _CHUNKS = "document_status", "search_text"
_SORT = "ordinal"


class ChunkView(BaseModel):
    """A passage: offsets into the document's text, headings, page, and the hash of what was embedded."""

    model_config = ConfigDict(frozen=True)

    ordinal: int
    text: str
    start: int
    end: int
    heading_path: list[str]
    page: int | None
    content_hash: str


class ListDocumentChunks(Query):
    PERMISSION: ClassVar[Permission] = Permission.KNOWLEDGE_READ
    MODELS: ClassVar[tuple[str, ...]] = (_DOCUMENTS, _CHUNKS)
    IS_SHARED: ClassVar[bool] = True

    document_id: UUID
    limit: Annotated[int, Field(ge=1, le=500)] = 100
    cursor: str | None = None


async def list_document_chunks(query: ListDocumentChunks, asking: Asking) -> Answer[Page[ChunkView]]:
    """Return a page of passages; none while the document is not processed.

    Raises:
        DocumentNotFound: there is none that the actor may see; another tenant's is none.
        InvalidCursor: the cursor is not of this list.
    """
    access, parameters = visible_to(asking.actor, "d")
    parameters |= {"document_id": query.document_id, "limit": query.limit, "after": -1}
    if query.cursor is not None:
        (parameters["after"],) = decode_cursor(query.cursor, _SORT, [TypeAdapter(int)])
    known = f"select from {{document_status.documents}} d where d.document_id = %(document_id)s and {access}"
    sql = (
        "select c.ordinal, c.content as text, c.start_offset as start, c.end_offset as end, c.heading_path, c.page, "
        f"encode(c.content_hash, 'hex') as content_hash from (select exists ({known}) as is_known) document "
        "left join {search_text.chunks} c on document.is_known and c.source_id = %(document_id)s "
        "and c.ordinal > %(after)s where document.is_known order by c.ordinal limit %(limit)s + 1"
    )
    reading = await asking.read_models.read(asking.actor, Question(query.MODELS, sql, parameters))
    if not reading.rows:
        raise DocumentNotFound(query.document_id)
    rows: list[dict[str, Any]] = [row for row in reading.rows if row["ordinal"] is not None]
    items = [ChunkView.model_validate(row) for row in rows]
    return answer_of(page_of(items, rows, query.limit, _SORT, (_SORT,)), reading)
