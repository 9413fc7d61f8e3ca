"""Wakes workers by message: coalesced, bounded in rate, and never in the way of what happened."""

import asyncio

import dramatiq
from dramatiq.errors import BrokerError
from redis.exceptions import RedisError

from eventstore.fault_log import FAULTS
from workers.redis_faults import dependency_error

_LEAST_SECONDS = 0.25


class Waker:
    """Sends one Dramatiq message for however many reasons there were since the last one.

    The message says "look"; what there is to do stands in PostgreSQL. Without Redis nothing is sent and nothing lost.
    """

    def __init__(self, broker: dramatiq.Broker, queue: str, actor: str) -> None:
        self._broker = broker
        self._queue = queue
        self._actor = actor
        self._is_due = asyncio.Event()

    def wake(self) -> None:
        self._is_due.set()

    async def run(self) -> None:
        """Send until cancelled."""
        while True:
            await self._is_due.wait()
            self._is_due.clear()
            message = dramatiq.Message[None](
                queue_name=self._queue, actor_name=self._actor, args=(), kwargs={}, options={}
            )
            try:
                await asyncio.to_thread(self._broker.enqueue, message)
            except (BrokerError, RedisError) as error:
                FAULTS.note("wake.not_sent", dependency_error(error), service="redis", actor=self._actor)
            await asyncio.sleep(_LEAST_SECONDS)
