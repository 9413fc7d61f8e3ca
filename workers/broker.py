"""The Dramatiq broker and its middleware, made when a process starts, never at import."""

from typing import Any

import dramatiq
import structlog
import uvloop
from dramatiq.asyncio import EventLoopThread, set_event_loop_thread
from dramatiq.brokers.redis import RedisBroker
from dramatiq.middleware import AgeLimit, AsyncIO, Callbacks, Middleware, Retries, ShutdownNotifications, TimeLimit
from opentelemetry import propagate, trace

log = structlog.get_logger()
tracer = trace.get_tracer("varve.workers")

PROJECTIONS = "projections"
DOCUMENTS = "documents"
NAMESPACE = "varve:dramatiq"
_WAKE_AGE_MS = 60_000
_TIME_LIMIT_MS = 60_000
_LOOP_START_SECONDS = 1.0


class MessageContext(Middleware):
    """Carries the trace in a message, and gives its handling a span and a bound, cleared log context."""

    def before_enqueue(self, broker: dramatiq.Broker, message: dramatiq.Message[Any], delay: int | None) -> None:
        carrier: dict[str, str] = {}
        propagate.inject(carrier)
        message.options.setdefault("trace", carrier)

    def before_process_message(self, broker: dramatiq.Broker, message: dramatiq.MessageProxy) -> None:
        structlog.contextvars.clear_contextvars()
        structlog.contextvars.bind_contextvars(message_id=message.message_id, actor=message.actor_name)
        context = propagate.extract(message.options.get("trace", {}))
        with tracer.start_as_current_span("message.received", context=context, kind=trace.SpanKind.CONSUMER) as span:
            span.set_attribute("varve.actor", message.actor_name)


class UvloopAsyncIO(AsyncIO):
    """Runs actors on a loop of uvloop's, as the API runs its requests."""

    def before_worker_boot(self, broker: dramatiq.Broker, worker: dramatiq.Worker) -> None:
        thread = EventLoopThread(self.logger)
        thread.loop.close()
        thread.loop = uvloop.new_event_loop()
        thread.start(timeout=_LOOP_START_SECONDS)
        set_event_loop_thread(thread)


def create_broker(redis_url: str) -> RedisBroker:
    """Return a broker whose messages only wake: each may be lost, repeated or late."""
    broker = RedisBroker(  # type: ignore[no-untyped-call]  # its __init__ takes **parameters without types
        url=redis_url,
        namespace=NAMESPACE,
        middleware=[
            AgeLimit(max_age=_WAKE_AGE_MS),  # an old wake-up says nothing: the sweep has looked since
            TimeLimit(time_limit=_TIME_LIMIT_MS),  # enforced only after `process_boot` was emitted
            ShutdownNotifications(),
            Callbacks(),
            Retries(max_retries=0),  # what failed is still a pending row, and is found again
            UvloopAsyncIO(),  # actors run on one event loop, beside the engine
            MessageContext(),  # innermost: the span is around the actor alone
        ],
    )
    dramatiq.set_broker(broker)
    return broker
