"""One process of the system under test, with traps: told so, it kills or stops itself at a named point of its work."""

import ctypes
import os
import signal
import sys
import threading

import dramatiq
import uvicorn
import uvloop

from api.app import create_api
from tests.chaos.projections import EventCount, PositionList
from varve import telemetry
from varve.bootstrap import open_api_services, open_engine
from varve.processes import run_document_worker
from varve.settings import Settings
from workers.actors import declare_projection_actors
from workers.broker import PROJECTIONS, create_broker
from workers.process import run_worker_process

_PR_SET_PDEATHSIG = 1


class Traps:
    """Signals this process at the points that lines on standard input name.

    A line is `POINT OCCURRENCE SIGNAL`: at the so-manieth time from now, counted from 1. An empty line takes the trap
    away.
    """

    def __init__(self) -> None:
        self._point = ""
        self._occurrence = 0
        self._signal = signal.SIGKILL

    def listen(self) -> None:
        """Read standard input beside the process's work."""
        threading.Thread(target=self._read, name="traps", daemon=True).start()

    def reached(self, point: str) -> None:
        """Note that the work is at `point`; this may be the last thing that the process does."""
        if point != self._point:
            return
        self._occurrence -= 1
        if self._occurrence == 0:
            self._point = ""
            os.kill(os.getpid(), self._signal)

    def _read(self) -> None:
        for line in sys.stdin:
            words = line.split()
            self._point = ""
            if words:
                self._occurrence, self._signal = int(words[1]), signal.Signals(int(words[2]))
                self._point = words[0]


def run_api(settings: Settings, traps: Traps) -> None:
    """Serve HTTP as `varve api` does."""

    async def serve() -> None:
        async with open_api_services(settings, on_append=lambda: traps.reached("appended")) as services:
            config = uvicorn.Config(
                create_api(services), host=settings.api_host, port=settings.api_port, log_config=None, access_log=False
            )
            await uvicorn.Server(config).serve()

    telemetry.set_up(settings, "varve-api")
    uvloop.run(serve())


def run_projections(settings: Settings, traps: Traps) -> None:
    """Run projections as `varve worker projections` does, and the two of the test."""
    telemetry.set_up(settings, "varve-projections")

    async def service(broker: dramatiq.Broker) -> None:
        async with open_engine(
            settings, broker, more_projections=[EventCount(), PositionList()], on_step=traps.reached
        ) as engine:
            declare_projection_actors(broker, engine.wake)
            await engine.run()

    run_worker_process(create_broker(settings.required_redis_url()), PROJECTIONS, 2, service)


def main(kind: str) -> None:
    """Run the process of that kind until SIGTERM, or until a trap, or until its supervisor ends."""
    # Its supervisor's end is its own: SIGKILL ends a stopped process, too.
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    settings, traps = Settings(), Traps()
    traps.listen()
    match kind:
        case "api":
            run_api(settings, traps)
        case "projections":
            run_projections(settings, traps)
        case "documents":
            run_document_worker(settings)
        case _:
            sys.exit(f"there is no process of the kind {kind}")


if __name__ == "__main__":
    main(sys.argv[1])
