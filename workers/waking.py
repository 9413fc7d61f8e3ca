"""Wakes workers by message: coalesced, bounded in rate, and never in the way of what happened."""

import asyncio

import dramatiq
import structlog
from dramatiq.errors import BrokerError
from redis.exceptions import RedisError

from workers.broker import PROJECTIONS

log = structlog.get_logger()

_LEAST_SECONDS = 0.25


class ProjectionWaker:
    """Sends one Dramatiq message for however many appends came since the last one."""

    def __init__(self, broker: dramatiq.Broker) -> None:
        self._broker = broker
        self._is_due = asyncio.Event()

    def wake(self) -> None:
        self._is_due.set()

    async def run(self) -> None:
        """Send until cancelled; without Redis nothing is sent, and nothing is lost."""
        while True:
            await self._is_due.wait()
            self._is_due.clear()
            try:
                await asyncio.to_thread(self._broker.enqueue, wake_message(""))
            except (BrokerError, RedisError) as error:
                log.warning("wake.not_sent", error=str(error))
            await asyncio.sleep(_LEAST_SECONDS)


def wake_message(projection: str) -> dramatiq.Message[None]:
    """Return the message that makes an engine look at a projection, or at the log when the name is empty."""
    return dramatiq.Message(
        queue_name=PROJECTIONS, actor_name="wake_projection", args=(projection,), kwargs={}, options={}
    )
