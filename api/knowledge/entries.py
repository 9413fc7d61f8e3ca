"""Routes of knowledge entries."""

from http import HTTPStatus
from typing import Annotated, Any, Literal
from uuid import UUID

from fastapi import APIRouter, Depends, Query, Request, Response
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from api.answers import ASKED, answer_query
from api.requests import CommandRequestOf, ServicesOf
from api.responses import CommandOutcome, no_content, outcome
from api.routing import ApiRoute, sends
from commands.knowledge.create_entry import MAX_BATCH, CreateKnowledgeEntries, CreateKnowledgeEntry
from commands.knowledge.delete_entry import DeleteKnowledgeEntry
from commands.knowledge.link_entries import LinkKnowledgeEntries, UnlinkKnowledgeEntries
from commands.knowledge.restore_entry import RestoreKnowledgeEntry
from commands.knowledge.update_entry import UpdateKnowledgeEntry
from domain.knowledge.entry import EntryChanges, Link, NewEntry
from queries.knowledge.entry_list import EntryView, GetEntry, ListEntries
from queries.knowledge.history import GetHistory, GetStateAt, HistoryItem, StateAt

router = APIRouter(tags=["entries"], route_class=ApiRoute)


class EntryBatch(BaseModel):
    model_config = ConfigDict(extra="forbid")

    entries: Annotated[tuple[NewEntry, ...], Field(min_length=1, max_length=MAX_BATCH)]


class BatchOutcome(CommandOutcome):
    entry_ids: list[UUID]


class EntryPage(BaseModel):
    items: list[EntryView]
    next_cursor: str | None


class HistoryPaging(BaseModel):
    model_config = ConfigDict(extra="forbid")

    limit: Annotated[int, Field(ge=1, le=200)] = 50
    cursor: str | None = None


class HistoryPage(BaseModel):
    items: list[HistoryItem]
    next_cursor: str | None


@router.get("/entries/{entry_id}", response_model=EntryView, openapi_extra=ASKED)
async def get_entry(entry_id: UUID, request: Request) -> Response:
    return await answer_query(GetEntry(entry_id=entry_id), request)


@router.post("/entries", status_code=HTTPStatus.CREATED)
@sends(CreateKnowledgeEntry)
async def create_entry(
    body: NewEntry, sent: CommandRequestOf, services: ServicesOf, response: Response
) -> CommandOutcome:
    answer = await services.commands.execute(CreateKnowledgeEntry(entry=body), sent)
    return outcome(answer, response, f"/api/v1/entries/{answer.aggregate_id}")


@router.post("/entries:batch", status_code=HTTPStatus.CREATED)
@sends(CreateKnowledgeEntries)
async def create_entries(
    body: EntryBatch, sent: CommandRequestOf, services: ServicesOf, response: Response
) -> BatchOutcome:
    """Create many entries: all of them or none."""
    answer = await services.commands.execute(CreateKnowledgeEntries(entries=body.entries), sent)
    entry_ids: Any = answer.result["entry_ids"]
    return BatchOutcome(**outcome(answer, response).model_dump(), entry_ids=entry_ids)


@router.get("/entries", response_model=EntryPage, openapi_extra=ASKED)
async def list_entries(query: Annotated[ListEntries, Query()], request: Request) -> Response:
    return await answer_query(query, request)


@router.patch("/entries/{entry_id}")
@sends(UpdateKnowledgeEntry)
async def update_entry(
    entry_id: UUID, body: EntryChanges, sent: CommandRequestOf, services: ServicesOf, response: Response
) -> CommandOutcome:
    """Change the fields that are named; the others stay as they are."""
    answer = await services.commands.execute(UpdateKnowledgeEntry(entry_id=entry_id, changes=body), sent)
    return outcome(answer, response)


@router.delete("/entries/{entry_id}", status_code=HTTPStatus.NO_CONTENT)
@sends(DeleteKnowledgeEntry)
async def delete_entry(entry_id: UUID, sent: CommandRequestOf, services: ServicesOf) -> Response:
    """Delete the entry; its history is kept, and it can be restored."""
    return no_content(await services.commands.execute(DeleteKnowledgeEntry(entry_id=entry_id), sent))


@router.post("/entries/{entry_id}/restore")
@sends(RestoreKnowledgeEntry)
async def restore_entry(
    entry_id: UUID, sent: CommandRequestOf, services: ServicesOf, response: Response
) -> CommandOutcome:
    return outcome(await services.commands.execute(RestoreKnowledgeEntry(entry_id=entry_id), sent), response)


@router.post("/entries/{entry_id}/links", status_code=HTTPStatus.CREATED)
@sends(LinkKnowledgeEntries)
async def link_entries(
    entry_id: UUID, body: Link, sent: CommandRequestOf, services: ServicesOf, response: Response
) -> CommandOutcome:
    answer = await services.commands.execute(LinkKnowledgeEntries(entry_id=entry_id, link=body), sent)
    return outcome(answer, response, f"/api/v1/entries/{entry_id}")


@router.delete("/entries/{entry_id}/links", status_code=HTTPStatus.NO_CONTENT)
@sends(UnlinkKnowledgeEntries)
async def unlink_entries(
    entry_id: UUID, link: Annotated[Link, Depends()], sent: CommandRequestOf, services: ServicesOf
) -> Response:
    return no_content(await services.commands.execute(UnlinkKnowledgeEntries(entry_id=entry_id, link=link), sent))


@router.get("/{kind}/{aggregate_id}/history", response_model=HistoryPage, openapi_extra=ASKED)
async def get_history(
    query: Annotated[HistoryPaging, Query()],
    kind: Literal["entries", "documents"],
    aggregate_id: UUID,
    request: Request,
) -> Response:
    """Return the events of the aggregate, oldest first; a page of long events may have fewer than `limit`."""
    return await answer_query(GetHistory(kind=_KINDS[kind], aggregate_id=aggregate_id, **query.model_dump()), request)


@router.get("/{kind}/{aggregate_id}/state", response_model=StateAt, openapi_extra=ASKED)
async def get_state(
    kind: Literal["entries", "documents"],
    aggregate_id: UUID,
    request: Request,
    version: Annotated[int | None, Query(ge=1)] = None,
    at: AwareDatetime | None = None,
) -> Response:
    """Return the state after a version or at a time, folded from the events themselves."""
    return await answer_query(GetStateAt(kind=_KINDS[kind], aggregate_id=aggregate_id, version=version, at=at), request)


_KINDS: dict[str, Literal["entry", "document"]] = {"entries": "entry", "documents": "document"}
