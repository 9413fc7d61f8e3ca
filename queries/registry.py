"""Every query and the function that answers it."""

from typing import Any

from queries.activity.user_activity import ListActivity, list_activity
from queries.knowledge.document_chunks import ListDocumentChunks, list_document_chunks
from queries.knowledge.document_status import GetDocument, ListDocuments, get_document, list_documents
from queries.knowledge.entry_list import GetEntry, ListEntries, get_entry, list_entries
from queries.knowledge.history import GetHistory, GetStateAt, get_history, get_state_at
from queries.message import Query, QueryHandler
from queries.operations.as_of import ListAsOf, list_as_of
from queries.operations.commands import GetCommand, get_command
from queries.operations.kept_answers import ListKeptAnswers, kept_answers_handler
from queries.operations.parked import ListParkedEvents, list_parked_events
from queries.operations.projections import ListProjections
from queries.operations.rebuilds import ListRebuilds, ListVerifications, list_rebuilds, list_verifications
from queries.operations.requests import GetRequest, get_request
from queries.ports import SharedAnswers
from queries.search.message import Search


def build_handlers(
    *,
    search: QueryHandler[Search, Any],
    projections: QueryHandler[ListProjections, Any],
    shared: SharedAnswers,
) -> dict[type[Query], QueryHandler[Any, Any]]:
    """Return the handlers.

    Args:
        search: has the embedding model and the analyzer that the index was made with.
        projections: knows what is an alarm.
        shared: where answers are kept.
    """
    return {
        Search: search,
        ListKeptAnswers: kept_answers_handler(shared),
        GetEntry: get_entry,
        ListEntries: list_entries,
        GetDocument: get_document,
        ListDocuments: list_documents,
        ListDocumentChunks: list_document_chunks,
        ListActivity: list_activity,
        GetCommand: get_command,
        GetRequest: get_request,
        ListProjections: projections,
        ListParkedEvents: list_parked_events,
        ListAsOf: list_as_of,
        ListRebuilds: list_rebuilds,
        ListVerifications: list_verifications,
        GetHistory: get_history,
        GetStateAt: get_state_at,
    }
