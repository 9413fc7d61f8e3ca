"""The actors of a projection worker: a message makes its engine look, and returns at once."""

import dramatiq

from projections.engine import Engine
from workers.broker import PROJECTIONS


def declare_projection_actors(broker: dramatiq.Broker, engine: Engine) -> None:
    """Declare on `broker` what wakes `engine`."""

    @dramatiq.actor(broker=broker, queue_name=PROJECTIONS, actor_name="wake_projection")
    async def wake_projection(projection: str) -> None:
        engine.wake(projection or None)
