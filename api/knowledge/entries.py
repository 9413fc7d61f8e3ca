"""Routes of knowledge entries."""

from http import HTTPStatus
from typing import Annotated, Any, Literal
from uuid import UUID

from fastapi import APIRouter, Depends, Query, Response
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from api.requests import ActorOf, AsOf, CommandRequestOf, MinPosition, ServicesOf
from api.responses import CommandOutcome, no_content, outcome, value_of
from commands.knowledge.create_entry import MAX_BATCH, CreateKnowledgeEntries, CreateKnowledgeEntry
from commands.knowledge.delete_entry import DeleteKnowledgeEntry
from commands.knowledge.link_entries import LinkKnowledgeEntries, UnlinkKnowledgeEntries
from commands.knowledge.restore_entry import RestoreKnowledgeEntry
from commands.knowledge.update_entry import UpdateKnowledgeEntry
from domain.knowledge.entry import EntryChanges, Link, NewEntry
from queries.knowledge.entry_list import EntryView, GetEntry, ListEntries
from queries.knowledge.history import GetHistory, GetStateAt, HistoryItem, StateAt

router = APIRouter(tags=["entries"])


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


@router.post("/entries", status_code=HTTPStatus.CREATED)
async def create_entry(
    body: NewEntry, sent: CommandRequestOf, services: ServicesOf, response: Response
) -> CommandOutcome:
    answer = await services.commands.execute(CreateKnowledgeEntry(entry=body), sent)
    return outcome(answer, response, f"/api/v1/entries/{answer.aggregate_id}")


@router.post("/entries:batch", status_code=HTTPStatus.CREATED)
async def create_entries(
    body: EntryBatch, sent: CommandRequestOf, services: ServicesOf, response: Response
) -> BatchOutcome:
    """Create many entries: all of them or none."""
    answer = await services.commands.execute(CreateKnowledgeEntries(entries=body.entries), sent)
    entry_ids: Any = answer.result["entry_ids"]
    return BatchOutcome(**outcome(answer, response).model_dump(), entry_ids=entry_ids)


@router.get("/entries")
async def list_entries(
    query: Annotated[ListEntries, Query()],
    actor: ActorOf,
    services: ServicesOf,
    response: Response,
    min_position: MinPosition = None,
    as_of: AsOf = None,
) -> EntryPage:
    page = value_of(await services.queries.ask(query, actor, min_position, as_of), response)
    return EntryPage(items=page.items, next_cursor=page.next_cursor)


@router.get("/entries/{entry_id}")
async def get_entry(
    entry_id: UUID,
    actor: ActorOf,
    services: ServicesOf,
    response: Response,
    min_position: MinPosition = None,
    as_of: AsOf = None,
) -> EntryView:
    entry: EntryView = value_of(
        await services.queries.ask(GetEntry(entry_id=entry_id), actor, min_position, as_of), response
    )
    response.headers["ETag"] = f'"{entry.version}"'
    return entry


@router.patch("/entries/{entry_id}")
async def update_entry(
    entry_id: UUID, body: EntryChanges, sent: CommandRequestOf, services: ServicesOf, response: Response
) -> CommandOutcome:
    """Change the fields that are named; the others stay as they are."""
    answer = await services.commands.execute(UpdateKnowledgeEntry(entry_id=entry_id, changes=body), sent)
    return outcome(answer, response)


@router.delete("/entries/{entry_id}", status_code=HTTPStatus.NO_CONTENT)
async def delete_entry(entry_id: UUID, sent: CommandRequestOf, services: ServicesOf) -> Response:
    """Delete the entry; its history is kept, and it can be restored."""
    return no_content(await services.commands.execute(DeleteKnowledgeEntry(entry_id=entry_id), sent))


@router.post("/entries/{entry_id}/restore")
async def restore_entry(
    entry_id: UUID, sent: CommandRequestOf, services: ServicesOf, response: Response
) -> CommandOutcome:
    return outcome(await services.commands.execute(RestoreKnowledgeEntry(entry_id=entry_id), sent), response)


@router.post("/entries/{entry_id}/links", status_code=HTTPStatus.CREATED)
async def link_entries(
    entry_id: UUID, body: Link, sent: CommandRequestOf, services: ServicesOf, response: Response
) -> CommandOutcome:
    answer = await services.commands.execute(LinkKnowledgeEntries(entry_id=entry_id, link=body), sent)
    return outcome(answer, response, f"/api/v1/entries/{entry_id}")


@router.delete("/entries/{entry_id}/links", status_code=HTTPStatus.NO_CONTENT)
async def unlink_entries(
    entry_id: UUID, link: Annotated[Link, Depends()], sent: CommandRequestOf, services: ServicesOf
) -> Response:
    return no_content(await services.commands.execute(UnlinkKnowledgeEntries(entry_id=entry_id, link=link), sent))


@router.get("/{kind}/{aggregate_id}/history")
async def get_history(
    query: Annotated[HistoryPaging, Query()],
    kind: Literal["entries", "documents"],
    aggregate_id: UUID,
    actor: ActorOf,
    services: ServicesOf,
    response: Response,
) -> HistoryPage:
    """Return the events of the aggregate, oldest first; a page of long events may have fewer than `limit`."""
    asked = GetHistory(kind=_KINDS[kind], aggregate_id=aggregate_id, **query.model_dump())
    page = value_of(await services.queries.ask(asked, actor), response)
    return HistoryPage(items=page.items, next_cursor=page.next_cursor)


@router.get("/{kind}/{aggregate_id}/state")
async def get_state(
    kind: Literal["entries", "documents"],
    aggregate_id: UUID,
    actor: ActorOf,
    services: ServicesOf,
    response: Response,
    version: Annotated[int | None, Query(ge=1)] = None,
    at: AwareDatetime | None = None,
) -> StateAt:
    """Return the state after a version or at a time, folded from the events themselves."""
    query = GetStateAt(kind=_KINDS[kind], aggregate_id=aggregate_id, version=version, at=at)
    state: StateAt = value_of(await services.queries.ask(query, actor), response)
    return state


_KINDS: dict[str, Literal["entry", "document"]] = {"entries": "entry", "documents": "document"}
