"""The contracts of `.importlinter`, each seen to break."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.architecture.source import PROJECT

_CHECK = "from importlinter.cli import lint_imports_command as check; check()"
_MODULES = (
    "domain.shared.events",
    "domain.knowledge.entry",
    "domain.operations.events",
    "commands.bus",
    "queries.bus",
    "projections.engine",
    "eventstore.append",
    "eventstore.load",
    "api.app",
    "workers.broker",
    "varve.bootstrap",
)


def check(folder: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-P", "-c", _CHECK, "--no-cache", "--config", str(PROJECT / ".importlinter")]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Modules of the names that the contracts speak of, all of them empty."""
    for name in _MODULES:
        write(tmp_path, name, "")
    return tmp_path


def write(folder: Path, module: str, source: str) -> None:
    path = folder.joinpath(*module.split(".")).with_suffix(".py")
    path.parent.mkdir(parents=True, exist_ok=True)
    for parent in path.parents:
        if parent == folder:
            break
        (parent / "__init__.py").touch()
    path.write_text(source)


def test_modules_that_import_nothing_break_no_contract(tree):
    result = check(tree)
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.parametrize(
    ("module", "imported"),
    [
        ("domain.shared.events", "eventstore.append"),
        ("domain.shared.events", "domain.knowledge.entry"),
        ("domain.knowledge.entry", "domain.operations.events"),
        ("eventstore.append", "domain.knowledge.entry"),
        ("eventstore.append", "projections.engine"),
        ("commands.bus", "queries.bus"),
        ("commands.bus", "projections.engine"),
        ("queries.bus", "projections.engine"),
        ("queries.bus", "eventstore.append"),
        ("api.app", "workers.broker"),
        ("workers.broker", "varve.bootstrap"),
    ],
)
def test_an_import_against_the_direction_breaks_a_contract(tree, module, imported):
    write(tree, module, f"import {imported}\n")
    result = check(tree)
    assert result.returncode == 1, result.stdout + result.stderr
    assert "BROKEN" in result.stdout


def test_a_context_that_no_contract_names_breaks_one(tree):
    write(tree, "domain.billing.events", "")
    assert check(tree).returncode == 1
