"""A projection worker, as `varve worker projections` runs it, with the hostile projection and one beside it."""

from tests.projections.counting import Listed
from tests.projections.hostile import Hostile, opening
from varve.processes import run_projection_worker
from varve.settings import Settings

PROGRAM = """
from tests.projections.hostile_worker import main
main()
"""


def main() -> None:
    """Run it until SIGTERM."""
    run_projection_worker(Settings(), more_projections=[Hostile(), Listed()], opening=opening)
