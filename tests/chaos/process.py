"""One process of the system under test, with traps: told so, it kills or stops itself at a named point of its work."""

import ctypes
import os
import signal
import sys
import threading

import uvloop

from tests.chaos.projections import of_the_test, opening
from varve import telemetry
from varve.processes import run_document_worker, run_projection_worker, serve_api
from varve.settings import Settings

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
    telemetry.set_up(settings, "varve-api")
    uvloop.run(serve_api(settings, on_append=lambda: traps.reached("appended")))


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
            run_projection_worker(settings, more_projections=of_the_test(), opening=opening, on_step=traps.reached)
        case "documents":
            run_document_worker(settings)
        case _:
            sys.exit(f"there is no process of the kind {kind}")


if __name__ == "__main__":
    main(sys.argv[1])
