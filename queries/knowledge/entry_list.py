"""KnowledgeEntryListView: one entry, and lists of entries with filters and keyset pagination."""

from datetime import datetime
from typing import Annotated, ClassVar, Literal
from uuid import UUID

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, JsonValue, TypeAdapter

from domain.knowledge.errors import EntryNotFound
from domain.shared.access import Permission, Visibility
from domain.shared.values import Label, Text
from eventstore.turns import made_in_turns
from queries.access import visible_to
from queries.message import Answer, Asking, Page, Query, Versioned, answer_of
from queries.paging import Order, bounded, bounded_page
from queries.ports import Question

_MODEL = "knowledge_entry_list"


class EntryLink(BaseModel):
    model_config = ConfigDict(frozen=True)

    target_id: UUID
    relation: str


class EntryView(Versioned):
    entry_id: UUID
    owner: str
    visibility: Visibility
    name: str
    description: str
    entity_type: str
    category: str | None
    tags: list[str]
    attributes: dict[str, JsonValue]
    links: list[EntryLink]
    is_active: bool
    created_at: datetime
    updated_at: datetime


class GetEntry(Query):
    PERMISSION: ClassVar[Permission] = Permission.KNOWLEDGE_READ
    MODELS: ClassVar[tuple[str, ...]] = (_MODEL,)

    entry_id: UUID


class ListEntries(Query):
    """Active entries, or deleted ones, by any of the filters together."""

    PERMISSION: ClassVar[Permission] = Permission.KNOWLEDGE_READ
    MODELS: ClassVar[tuple[str, ...]] = (_MODEL,)
    IS_SHARED: ClassVar[bool] = True

    entity_type: Label | None = None
    category: Label | None = None
    tag: Label | None = None
    text: Annotated[Text | None, Field(max_length=200)] = None
    created_from: AwareDatetime | None = None
    created_before: AwareDatetime | None = None
    is_active: bool = True
    sort: Literal["created_at", "-created_at", "updated_at", "-updated_at", "name", "-name"] = "-created_at"
    limit: Annotated[int, Field(ge=1, le=200)] = 50
    cursor: str | None = None


_COLUMNS = [f"e.{column}" for column in EntryView.model_fields]
_SIZE = "octet_length(e.description) + octet_length(e.attributes::text) + octet_length(e.links::text)"

_ENTRIES = "{knowledge_entry_list.entries}"
_MOST_LOOKED_UP = 5_000
_TAGGED_COUNT = f"""
select count(*) as tagged
from (select from {{knowledge_entry_list.tags}} t where t.tag = %(tag)s limit {_MOST_LOOKED_UP + 1}) few
"""
_TAGGED = """(
    select e.* from {knowledge_entry_list.tags} t
    cross join lateral (
        select * from {knowledge_entry_list.entries} e where e.tenant = t.tenant and e.entry_id = t.entry_id offset 0
    ) e
    where t.tag = %(tag)s
)"""

_FILTERS = {
    "entity_type": "e.entity_type = %(entity_type)s",
    "category": "e.category = %(category)s",
    "tag": "exists (select from {knowledge_entry_list.tags} t"
    " where t.tenant = e.tenant and t.entry_id = e.entry_id and t.tag = %(tag)s offset 0)",
    "text": "(e.name || ' ' || e.description) ilike %(pattern)s",
    "created_from": "e.created_at >= %(created_from)s",
    "created_before": "e.created_at < %(created_before)s",
}


async def get_entry(query: GetEntry, asking: Asking) -> Answer[EntryView]:
    """Return the entry, deleted or not.

    Raises:
        EntryNotFound: there is none that the actor may see; another tenant's is none.
    """
    access, parameters = visible_to(asking.actor, "e")
    columns = ", ".join(_COLUMNS)
    sql = f"select {columns} from {{knowledge_entry_list.entries}} e where e.entry_id = %(entry_id)s and {access}"
    question = Question(query.MODELS, sql, {"entry_id": query.entry_id, **parameters}, is_by_key=True)
    reading = await asking.read_models.read(asking.actor, question)
    if not reading.rows:
        raise EntryNotFound(query.entry_id)
    return answer_of(EntryView.model_validate(reading.rows[0]), reading)


async def list_entries(query: ListEntries, asking: Asking) -> Answer[Page[EntryView]]:
    """Return a page of entries; one of long entries may have fewer than `limit`.

    Raises:
        InvalidCursor: the cursor is not of this list in this order.
    """
    access, parameters = visible_to(asking.actor, "e")
    conditions = [access, "e.is_active = %(is_active)s"]
    is_rare = query.tag is not None and await _is_rare(query.tag, asking)
    filters = [name for name in _FILTERS if getattr(query, name) is not None and not (name == "tag" and is_rare)]
    conditions += [_FILTERS[name] for name in filters]
    parameters |= query.model_dump(exclude={"sort", "cursor"})
    parameters["pattern"] = f"%{_escaped(query.text or '')}%"
    order = Order(query.sort, "e", "entry_id")
    if query.cursor is not None:
        after, values = order.after(query.cursor, TypeAdapter(Text if order.column == "name" else AwareDatetime))
        conditions.append(after)
        parameters |= values
    rows = f"from {_TAGGED if is_rare else _ENTRIES} e where {' and '.join(conditions)}"
    sql = bounded(_COLUMNS, _SIZE, rows, order.sql)
    reading = await asking.read_models.read(asking.actor, Question(query.MODELS, sql, parameters))
    items = await made_in_turns(EntryView.model_validate, reading.rows)
    page = bounded_page(items, reading.rows, query.limit, query.sort, (order.column, "entry_id"))
    return answer_of(page, reading)


async def _is_rare(tag: str, asking: Asking) -> bool:
    """Whether so few entries have the tag that they are looked up one by one, whatever else is filtered.

    The planner would know where it has statistics; after a large import it compares each entry with each tag.
    """
    reading = await asking.read_models.read(asking.actor, Question(ListEntries.MODELS, _TAGGED_COUNT, {"tag": tag}))
    tagged: int = reading.rows[0]["tagged"]
    return tagged <= _MOST_LOOKED_UP


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace("%", r"\%").replace("_", r"\_")
