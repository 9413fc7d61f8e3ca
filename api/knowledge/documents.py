"""Routes of documents."""

from collections.abc import AsyncIterator
from http import HTTPStatus
from pathlib import PurePath
from typing import Annotated, Any, Literal
from uuid import UUID

from fastapi import APIRouter, File, Form, Header, Query, Request, Response, UploadFile
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from api.answers import ASKED, answer_query
from api.requests import ActorOf, CommandRequestOf, ServicesOf, build_command_request, require_key
from api.responses import CommandOutcome, no_content, outcome
from api.routing import ApiRoute, sends
from commands.knowledge.delete_document import DeleteDocument
from commands.knowledge.reprocess_document import ReprocessDocument
from commands.knowledge.upload_document import UploadDocument
from domain.knowledge.document import UploadedFile
from domain.knowledge.values import MAX_TAGS
from domain.shared.access import Permission, Visibility
from queries.knowledge.document_chunks import ChunkView, ListDocumentChunks
from queries.knowledge.document_status import DocumentView, GetDocument, ListDocuments

router = APIRouter(tags=["documents"], route_class=ApiRoute)

_FORM_LIMITS: Any = {"max_files": 1, "max_fields": MAX_TAGS + 10, "max_part_size": 1024}
_PIECE = 256 * 1024
_WAIT_SECONDS = 30.0
_UNKNOWN_TYPE = "application/octet-stream"
_NOT_KNOWN_YET = "0" * 64


class ChunkPaging(BaseModel):
    model_config = ConfigDict(extra="forbid")

    limit: Annotated[int, Field(ge=1, le=500)] = 100
    cursor: str | None = None


class ChunkPage(BaseModel):
    items: list[ChunkView]
    next_cursor: str | None


class DocumentPage(BaseModel):
    items: list[DocumentView]
    next_cursor: str | None


@router.post("/documents", status_code=HTTPStatus.ACCEPTED, form_limits=_FORM_LIMITS)
@sends(UploadDocument)
async def upload_document(
    request: Request,
    actor: ActorOf,
    services: ServicesOf,
    response: Response,
    file: Annotated[UploadFile, File(description="PDF, DOCX, HTML, Markdown or plain text.")],
    category: Annotated[str | None, Form()] = None,
    tags: Annotated[list[str] | None, Form()] = None,
    visibility: Annotated[Visibility, Form()] = Visibility.TENANT,
    idempotency_key: Annotated[str | None, Header()] = None,
) -> CommandOutcome:
    """Store the file and have it processed; `GET /documents/{id}?wait=processed` tells when it is."""
    # Whatever can be refused is refused before the file goes to the blob store.
    actor.require(Permission.KNOWLEDGE_WRITE)
    require_key(idempotency_key)
    try:
        described = UploadedFile(
            file_name=PurePath((file.filename or "").replace("\\", "/")).name or "unnamed",
            media_type=(file.content_type or _UNKNOWN_TYPE)[:100],
            size=file.size or 0,
            sha256=_NOT_KNOWN_YET,
            category=category,
            tags=tuple(tags or ()),
            visibility=visibility,
        )
    except ValidationError as error:
        raise RequestValidationError(error.errors(include_url=False)) from error
    stored = await services.uploads.put_stream(actor.tenant, _pieces(file), services.max_upload_bytes)
    uploaded = described.model_copy(update={"size": stored.size, "sha256": stored.sha256})
    content = uploaded.model_dump_json().encode()
    sent = await build_command_request(request, actor, services, None, idempotency_key, content)
    answer = await services.commands.execute(UploadDocument(file=uploaded), sent)
    return outcome(answer, response, f"/api/v1/documents/{answer.aggregate_id}")


@router.get("/documents", response_model=DocumentPage, openapi_extra=ASKED)
async def list_documents(query: Annotated[ListDocuments, Query()], request: Request) -> Response:
    return await answer_query(query, request)


@router.get("/documents/{document_id}", response_model=DocumentView, openapi_extra=ASKED)
async def get_document(
    document_id: UUID,
    request: Request,
    wait: Annotated[
        Literal["processed"] | None, Query(description="Wait, bounded, until it is processed or has failed.")
    ] = None,
) -> Response:
    return await answer_query(GetDocument(document_id=document_id, wait_seconds=_WAIT_SECONDS if wait else 0), request)


@router.get("/documents/{document_id}/chunks", response_model=ChunkPage, openapi_extra=ASKED)
async def list_chunks(query: Annotated[ChunkPaging, Query()], document_id: UUID, request: Request) -> Response:
    """Return the document's passages in order."""
    return await answer_query(ListDocumentChunks(document_id=document_id, **query.model_dump()), request)


@router.post("/documents/{document_id}/reprocess", status_code=HTTPStatus.ACCEPTED)
@sends(ReprocessDocument)
async def reprocess_document(
    document_id: UUID, sent: CommandRequestOf, services: ServicesOf, response: Response
) -> CommandOutcome:
    answer = await services.commands.execute(ReprocessDocument(document_id=document_id), sent)
    return outcome(answer, response, f"/api/v1/documents/{document_id}")


@router.delete("/documents/{document_id}", status_code=HTTPStatus.NO_CONTENT)
@sends(DeleteDocument)
async def delete_document(document_id: UUID, sent: CommandRequestOf, services: ServicesOf) -> Response:
    """Delete the document; its history is kept, and the same file may be uploaded again."""
    return no_content(await services.commands.execute(DeleteDocument(document_id=document_id), sent))


async def _pieces(file: UploadFile) -> AsyncIterator[bytes]:
    while piece := await file.read(_PIECE):
        yield piece
