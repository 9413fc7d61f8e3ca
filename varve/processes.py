"""What each of Varve's processes does from its start to its end."""

import gc
import os
from collections.abc import Callable, Iterable

import dramatiq
import uvicorn
import uvloop

from projections.definition import Projection
from projections.engine import StuckThreadError
from varve import telemetry
from varve.bootstrap import open_api_services, open_document_work, open_engine
from varve.child import announce_ready, is_after_crash
from varve.http_protocol import BoundedHttpProtocol
from varve.lane_child import OpenProjections, registered, target_of
from varve.settings import Settings
from varve.watchdog import watched
from workers.actors import declare_document_actors, declare_projection_actors
from workers.broker import DOCUMENTS, PROJECTIONS, create_broker
from workers.process import run_worker_process
from workers.process_limits import limit_memory, volunteer_for_the_kernel

_WAKING_THREADS = 2
_GRACE_SECONDS = 10
_COLLECTED_OBJECTS = 50_000
_SCORE = 500
"""Of our processes when the kernel chooses one to end for want of memory: PostgreSQL has 0, and ends last."""
_STUCK = 72
"""The exit code of a worker that leaves a thread behind which never ends."""


def collect_rarely() -> None:
    """Look for garbage less often than Python does: batches and windows are many objects, all gone soon."""
    gc.freeze()  # what was imported stays
    gc.set_threshold(_COLLECTED_OBJECTS)


def run_api(settings: Settings) -> None:
    """Serve HTTP until SIGTERM or SIGINT."""
    collect_rarely()
    volunteer_for_the_kernel(_SCORE)
    with telemetry.of_process(settings, "varve-api"):
        uvloop.run(serve_api(settings))


async def serve_api(settings: Settings, on_append: Callable[[], None] = lambda: None) -> None:
    """Serve HTTP on the running loop, until a signal; `on_append` is as for `open_platform`."""
    from api.app import create_api  # a worker that is started again is waited for, and needs none of it

    async with watched(settings.hang_seconds), open_api_services(settings, on_append=on_append) as services:
        app = create_api(services)
        app.openapi()  # now, since it holds the loop for a fifth of a second
        config = uvicorn.Config(
            app,
            http=BoundedHttpProtocol,
            host=settings.api_host,
            port=settings.api_port,
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=_GRACE_SECONDS,
        )
        announce_ready()
        await uvicorn.Server(config).serve()


def run_projection_worker(
    settings: Settings,
    more_projections: Iterable[Projection] = (),
    opening: OpenProjections = registered,
    on_step: Callable[[str], None] = lambda _: None,
) -> None:
    """Run projections until SIGTERM or SIGINT.

    Args:
        settings: where everything is.
        more_projections: besides those of the registry.
        opening: what a child of the worker opens: a function that it can import. It has `more_projections`, too.
        on_step: told each named point that a crash may fall on.
    """
    collect_rarely()
    limit_memory(settings.worker_memory_megabytes)
    volunteer_for_the_kernel(_SCORE)

    async def service(broker: dramatiq.Broker) -> None:
        opened = open_engine(
            settings,
            broker,
            more_projections=more_projections,
            on_step=on_step,
            child_target=target_of(settings, opening),
            is_after_crash=is_after_crash(),
        )
        async with watched(settings.projection_hang_seconds), opened as engine:
            declare_projection_actors(broker, engine.wake)
            announce_ready()
            await engine.run()

    with telemetry.of_process(settings, "varve-projections"):
        try:
            run_worker_process(create_broker(settings.required_redis_url()), PROJECTIONS, _WAKING_THREADS, service)
        except StuckThreadError:
            os._exit(_STUCK)  # an ordinary end would wait for the thread


def run_document_worker(settings: Settings) -> None:
    """Process documents until SIGTERM or SIGINT."""
    limit_memory(settings.worker_memory_megabytes)
    volunteer_for_the_kernel(_SCORE)

    async def service(broker: dramatiq.Broker) -> None:
        async with watched(settings.hang_seconds), open_document_work(settings, broker) as work:
            declare_document_actors(broker, work.wake)
            announce_ready()
            await work.run()

    with telemetry.of_process(settings, "varve-documents"):
        run_worker_process(create_broker(settings.required_redis_url()), DOCUMENTS, _WAKING_THREADS, service)
