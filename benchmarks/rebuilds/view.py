"""The projection that is rebuilt."""

from projections.knowledge.entry_list import KnowledgeEntryListView


def view_in(lanes: int) -> KnowledgeEntryListView:
    """Return KnowledgeEntryListView in so many lanes."""

    class InLanes(KnowledgeEntryListView):
        LANES = lanes

    return InLanes()
