"""Runs every step over every shape at full length: `python -m tests.texts [part of a step's name]`, an hour or so."""

import sys

from tests.texts.corpus import GROUPS
from tests.texts.growth import run_child

_CPU_SECONDS = 3_600


def main(part: str = "") -> int:
    """Print what is wrong; return 1 if anything is."""
    is_wrong = False
    for group, steps in GROUPS.items():
        for name in (each for each in steps if part in each):
            report = run_child(group, name, full=True, cpu_seconds=_CPU_SECONDS)
            print(f"{name}: {report.finished} shapes", *report.complaints, sep="\n  ", flush=True)  # noqa: T201
            is_wrong = is_wrong or bool(report.complaints)
    return int(is_wrong)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
