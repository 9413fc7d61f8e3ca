"""The command line of a run: see the package's own words."""

import argparse
import asyncio
import json
import sys
from pathlib import Path

import structlog

from tests.chaos.hostile import Sizes
from tests.chaos.run import run


def main() -> int:
    """Run, print and keep the result; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -P -m tests.chaos", description=__doc__)
    parser.add_argument("--seed", type=int, required=True, help="what decides every choice")
    parser.add_argument("--kills", type=int, default=20, help="how often each kind of kill is done")
    parser.add_argument("--hostile", type=int, default=60_000, help="characters of a hostile text")
    parser.add_argument(
        "--hostile-inputs", type=int, help="how many are sent; without it, as many as there is time for"
    )
    parser.add_argument("--result", type=Path, help="a file that keeps the result")
    given = parser.parse_args()
    structlog.configure(logger_factory=structlog.ReturnLoggerFactory())  # the supervisors' lines hide the progress
    result = json.dumps(asyncio.run(run(given.seed, given.kills, Sizes(given.hostile, given.hostile_inputs))), indent=2)
    if given.result is not None:
        given.result.write_text(f"{result}\n", encoding="utf-8")
    sys.stdout.write(f"{result}\n")
    return 0 if json.loads(result)["is_passed"] else 1


if __name__ == "__main__":
    sys.exit(main())
