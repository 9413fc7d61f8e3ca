"""Every projection and reactor, in one place."""

from collections.abc import Callable

from projections.activity.user_activity import UserActivityView
from projections.definition import Projection
from projections.knowledge.document_jobs import DocumentJobs
from projections.knowledge.document_status import DocumentStatusView
from projections.knowledge.entry_list import KnowledgeEntryListView
from projections.operations.rebuild_requests import RebuildRequests

REBUILDABLE = frozenset({"knowledge_entry_list", "document_status", "user_activity"})
"""The names that an operator may ask to be rebuilt; a test holds that they are those of `build_projections`."""


def build_projections(*, wake_documents: Callable[[], None]) -> list[Projection]:
    """Return what a projection worker runs.

    Args:
        wake_documents: wakes the document workers; may be lost.
    """
    read_models: list[Projection] = [KnowledgeEntryListView(), DocumentStatusView(), UserActivityView()]
    reactors: list[Projection] = [
        DocumentJobs(wake_documents),
        RebuildRequests({projection.NAME: projection for projection in read_models}),
    ]
    return read_models + reactors
