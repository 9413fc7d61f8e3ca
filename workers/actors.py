"""Every Dramatiq actor. Each wakes something in its process and returns at once; none carries work."""

from collections.abc import Callable

import dramatiq

from workers.broker import DOCUMENTS, PROJECTIONS

LOOK_AT_LOG = "look_at_log"
LOOK_AT_DOCUMENTS = "look_at_documents"


def declare_projection_actors(broker: dramatiq.Broker, wake_engine: Callable[[], None]) -> None:
    """Declare on `broker` what wakes a projection worker."""

    @dramatiq.actor(broker=broker, queue_name=PROJECTIONS, actor_name=LOOK_AT_LOG)
    async def look_at_log() -> None:
        wake_engine()


def declare_document_actors(broker: dramatiq.Broker, wake_documents: Callable[[], None]) -> None:
    """Declare on `broker` what wakes a document worker."""

    @dramatiq.actor(broker=broker, queue_name=DOCUMENTS, actor_name=LOOK_AT_DOCUMENTS)
    async def look_at_documents() -> None:
        wake_documents()
