"""Every query and the function that answers it."""

from typing import Any

from queries.knowledge.entry_list import GetEntry, ListEntries, get_entry, list_entries
from queries.knowledge.history import GetHistory, GetStateAt, get_history, get_state_at
from queries.message import Query, QueryHandler

HANDLERS: dict[type[Query], QueryHandler[Any, Any]] = {
    GetEntry: get_entry,
    ListEntries: list_entries,
    GetHistory: get_history,
    GetStateAt: get_state_at,
}
