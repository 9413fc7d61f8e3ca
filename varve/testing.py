"""Runs every check of a source checkout, in the order in which they fail fastest: what `varve test` and CI call."""

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

_LINT_IMPORTS = "from importlinter.cli import lint_imports_command as check; check()"
_VARVE = "from varve.cli import main; main()"
_SIGNALLED = 128
_TESTS_AT_ONCE = 2 * (os.cpu_count() or 1)  # they wait most of the time; each has servers of its own


@dataclass(frozen=True, slots=True)
class Stage:
    """A program of this Python: `arguments` follow `python -P`."""

    title: str
    arguments: tuple[str, ...]


STAGES = (
    Stage("Lint: ruff check", ("-m", "ruff", "check")),
    Stage("Format: ruff format --check", ("-m", "ruff", "format", "--check")),
    Stage("Types: mypy --strict", ("-m", "mypy")),
    Stage("Contracts: lint-imports", ("-c", _LINT_IMPORTS, "--no-logo")),  # the package has no `__main__`
    Stage("Events: varve events schemas --check", ("-c", _VARVE, "events", "schemas", "--check")),
    # Last, so that its summary is the last line on the screen; the chaos smoke is among its tests.
    Stage("Tests: pytest", ("-m", "pytest", "-n", str(_TESTS_AT_ONCE), "--dist", "worksteal")),
)


class NotACheckoutError(Exception):
    """This Varve is installed without its sources."""

    def __init__(self, folder: Path) -> None:
        super().__init__(
            f"{folder} holds no source checkout of Varve, and an installed Varve has no tests. "
            "Clone the repository and run there: python3 varve test"
        )


def run_tests(arguments: Sequence[str]) -> int:
    """Run every stage, or only pytest when it is given `arguments`; the result is an exit code.

    The first stage that fails ends the run, with its own exit code.

    Raises:
        NotACheckoutError: there are no tests here.
    """
    project = Path(__file__).resolve().parent.parent
    if not (project / "pyproject.toml").is_file() or not (project / "tests").is_dir():
        raise NotACheckoutError(project)
    return run_stages((Stage("Tests: pytest", ("-m", "pytest", *arguments)),) if arguments else STAGES, project)


def run_stages(stages: Sequence[Stage], project: Path) -> int:
    """Run `stages` in the folder `project` until one fails; return its exit code, 0 when none does."""
    console = Console(highlight=False)
    for number, stage in enumerate(stages, start=1):
        console.print(f"[bold]== {number} of {len(stages)}: {stage.title}[/bold]")
        began = time.monotonic()
        command = [sys.executable, "-P", *stage.arguments]
        result = subprocess.run(command, cwd=project, env=_environment(), check=False)  # noqa: S603 - our own Python
        if result.returncode != 0:
            return result.returncode if result.returncode > 0 else _SIGNALLED - result.returncode
        if stage is not stages[-1]:
            console.print(f"{stage.title} passed in {time.monotonic() - began:.1f} s\n")
    return 0


def _environment() -> dict[str, str]:
    """Return ours without Varve's settings: no test may touch the servers that somebody works with."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("VARVE_")}
    return {**kept, "PYTHONSAFEPATH": "1"}
