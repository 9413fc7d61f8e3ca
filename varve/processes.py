"""What each of Varve's processes does from its start to its end."""

import gc

import dramatiq
import uvicorn
import uvloop

from api.app import create_api
from varve import telemetry
from varve.bootstrap import open_api_services, open_document_work, open_engine
from varve.child import announce_ready
from varve.settings import Settings
from workers.actors import declare_document_actors, declare_projection_actors
from workers.broker import DOCUMENTS, PROJECTIONS, create_broker
from workers.process import run_worker_process

_WAKING_THREADS = 2
_GRACE_SECONDS = 10
_COLLECTED_OBJECTS = 50_000


def collect_rarely() -> None:
    """Look for garbage less often than Python does: batches and windows are many objects, all gone soon."""
    gc.freeze()  # what was imported stays
    gc.set_threshold(_COLLECTED_OBJECTS)


def run_api(settings: Settings) -> None:
    """Serve HTTP until SIGTERM or SIGINT."""
    collect_rarely()
    with telemetry.of_process(settings, "varve-api"):
        uvloop.run(serve_api(settings))


async def serve_api(settings: Settings) -> None:
    """Serve HTTP on the running loop, until a signal."""
    async with open_api_services(settings) as services:
        config = uvicorn.Config(
            create_api(services),
            host=settings.api_host,
            port=settings.api_port,
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=_GRACE_SECONDS,
        )
        announce_ready()
        await uvicorn.Server(config).serve()


def run_projection_worker(settings: Settings) -> None:
    """Run projections until SIGTERM or SIGINT."""
    collect_rarely()

    async def service(broker: dramatiq.Broker) -> None:
        async with open_engine(settings, broker) as engine:
            declare_projection_actors(broker, engine.wake)
            announce_ready()
            await engine.run()

    with telemetry.of_process(settings, "varve-projections"):
        run_worker_process(create_broker(settings.required_redis_url()), PROJECTIONS, _WAKING_THREADS, service)


def run_document_worker(settings: Settings) -> None:
    """Process documents until SIGTERM or SIGINT."""

    async def service(broker: dramatiq.Broker) -> None:
        async with open_document_work(settings, broker) as work:
            declare_document_actors(broker, work.wake)
            announce_ready()
            await work.run()

    with telemetry.of_process(settings, "varve-documents"):
        run_worker_process(create_broker(settings.required_redis_url()), DOCUMENTS, _WAKING_THREADS, service)
