"""Every projection and reactor, in one place."""

from projections.definition import Projection
from projections.knowledge.entry_list import KnowledgeEntryListView


def build_projections() -> list[Projection]:
    """Return the projections that a projection worker runs."""
    return [KnowledgeEntryListView()]
