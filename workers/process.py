"""Runs one Dramatiq worker process in code: an asynchronous service beside its actors, on their event loop."""

import asyncio
import concurrent.futures
import signal
import threading
from collections.abc import Awaitable, Callable

import dramatiq
import structlog
from dramatiq.asyncio import get_event_loop_thread
from dramatiq.middleware import Middleware
from dramatiq.worker import Worker

from eventstore.background import end

log = structlog.get_logger()

_STOP_SECONDS = 10.0

Service = Callable[[dramatiq.Broker], Awaitable[None]]
"""Runs until it is cancelled; declares its actors on the broker it is given before its first wait."""


class ServiceMiddleware(Middleware):
    """Stops the service before the worker shuts down, so that it can give its leases back."""

    def __init__(self) -> None:
        self._future: concurrent.futures.Future[None] | None = None
        self._task: asyncio.Task[None] | None = None

    def start(self, service: Service, broker: dramatiq.Broker, on_end: Callable[[], None]) -> None:
        """Run `service` on the event loop of the actors."""
        thread = get_event_loop_thread()
        if thread is None:
            raise RuntimeError("the AsyncIO middleware has not started its event loop")
        self._loop = thread.loop
        self._future = asyncio.run_coroutine_threadsafe(self._run(service, broker), thread.loop)
        self._future.add_done_callback(lambda _: on_end())

    def before_worker_shutdown(self, broker: dramatiq.Broker, worker: Worker) -> None:
        if self._task is not None:
            ending = asyncio.run_coroutine_threadsafe(end(self._task), self._loop)
            concurrent.futures.wait([ending], timeout=_STOP_SECONDS)

    async def _run(self, service: Service, broker: dramatiq.Broker) -> None:
        self._task = asyncio.current_task()
        await service(broker)

    def failure(self) -> BaseException | None:
        """Return what ended the service, if it ended by itself."""
        if self._future is None or not self._future.done() or self._future.cancelled():
            return None
        return self._future.exception()


def run_worker_process(broker: dramatiq.Broker, queue: str, threads: int, service: Service) -> None:
    """Run `service` and the actors of `queue` until SIGTERM or SIGINT, or until the service fails.

    Raises:
        Exception: whatever ended the service.
    """
    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    middleware = ServiceMiddleware()
    broker.add_middleware(middleware)
    worker = Worker(broker, queues={queue}, worker_threads=threads)
    worker.queue_prefetch = threads  # the default hoards messages that other processes could handle
    broker.emit_after("process_boot")
    worker.start()
    middleware.start(service, broker, ended.set)
    log.info("worker.started", queue=queue)
    ended.wait()
    worker.stop()
    broker.close()
    failure = middleware.failure()
    if failure is not None:
        raise failure
