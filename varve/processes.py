"""What each of Varve's processes does from its start to its end."""

import dramatiq
import uvicorn
import uvloop

from api.app import create_api
from varve import telemetry
from varve.bootstrap import open_api_services, open_engine
from varve.settings import Settings
from workers.broker import PROJECTIONS, create_broker
from workers.process import run_worker_process
from workers.projections import declare_projection_actors

_WAKING_THREADS = 2
_GRACE_SECONDS = 10


def run_api(settings: Settings) -> None:
    """Serve HTTP until SIGTERM or SIGINT."""
    provider = telemetry.set_up(settings, "varve-api")
    uvloop.run(serve_api(settings))
    provider.shutdown()


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
        await uvicorn.Server(config).serve()


def run_projection_worker(settings: Settings) -> None:
    """Run projections until SIGTERM or SIGINT."""
    provider = telemetry.set_up(settings, "varve-projections")

    async def service(broker: dramatiq.Broker) -> None:
        async with open_engine(settings) as engine:
            declare_projection_actors(broker, engine)
            await engine.run()

    run_worker_process(create_broker(settings.required_redis_url()), PROJECTIONS, _WAKING_THREADS, service)
    provider.shutdown()
