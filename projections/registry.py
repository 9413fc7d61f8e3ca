"""Every projection and reactor, in one place; who adds a read model adds it here, once."""

from collections.abc import Callable

from domain.shared.events import Event
from projections.activity.user_activity import UserActivityView
from projections.definition import Projection
from projections.knowledge.document_jobs import DocumentJobs
from projections.knowledge.document_status import DocumentStatusView
from projections.knowledge.entry_list import KnowledgeEntryListView
from projections.operations.operator_requests import OperatorRequests
from projections.search.text_leg import SearchTextLeg
from projections.search.vector_leg import SearchVectorLeg

READ_MODELS: tuple[type[Projection], ...] = (
    KnowledgeEntryListView,
    DocumentStatusView,
    UserActivityView,
    SearchTextLeg,
    SearchVectorLeg,
)
REACTORS: tuple[type[Projection], ...] = (DocumentJobs, OperatorRequests)


def reactors() -> frozenset[str]:
    """Return the names of projections that have no rows to be read: they can't be rebuilt, and may stand or park."""
    return frozenset(projection.NAME for projection in REACTORS)


def rebuildable() -> frozenset[str]:
    """Return the names that an operator may ask to be rebuilt."""
    return frozenset(projection.NAME for projection in READ_MODELS)


def read_models_of(event_class: type[Event]) -> list[str]:
    """Return the names of the rebuildable projections that take events of a class."""
    return [projection.NAME for projection in READ_MODELS if event_class in projection.EVENTS]


def topics_of_read_models() -> dict[str, list[str]]:
    """Return by the name of each rebuildable projection the topics of the events that it takes."""
    return {projection.NAME: [each.TOPIC for each in projection.EVENTS] for projection in READ_MODELS}


def build_projections(
    *, text_leg: SearchTextLeg, vector_leg: SearchVectorLeg, wake_documents: Callable[[], None]
) -> list[Projection]:
    """Return what a projection worker runs. A read model that needs nothing but events is made here.

    Args:
        text_leg: with the analyzer that questions are asked with.
        vector_leg: with the embedding model that questions are asked with.
        wake_documents: wakes the document workers; may be lost.
    """
    made: dict[type[Projection], Projection] = {SearchTextLeg: text_leg, SearchVectorLeg: vector_leg}
    read_models = [made.get(each) or each() for each in READ_MODELS]
    reactors: list[Projection] = [
        DocumentJobs(wake_documents),
        OperatorRequests({projection.NAME: projection for projection in read_models}),
    ]
    return read_models + reactors
