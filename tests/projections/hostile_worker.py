"""A projection worker, as `varve worker projections` runs it, with the hostile projection and one beside it."""

import signal

from tests.projections.counting import Listed
from tests.projections.hostile import Hostile, opening
from varve.processes import run_projection_worker
from varve.settings import Settings
from workers.process_limits import die_with

PROGRAM = """
import sys
from tests.projections.hostile_worker import main
main(int(sys.argv[1]))
"""


def main(supervisor: int) -> None:
    """Run it until SIGTERM, or until its supervisor ends, whatever its threads are at."""
    die_with(supervisor, signal.SIGKILL)
    run_projection_worker(Settings(), more_projections=[Hostile(), Listed()], opening=opening)
