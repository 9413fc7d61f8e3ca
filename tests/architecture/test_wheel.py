"""The wheel holds the product and nothing else, and runs where it is installed."""

import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

from tests.architecture.source import PACKAGES, PROJECT

_WOULD_SHADOW = {
    "api/__init__.py": "raise AssertionError('the working folder was imported')",
    "domain.py": "raise AssertionError('the working folder was imported')",
}


def run(*command: str | Path, cwd: Path = PROJECT) -> str:
    result = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    run(sys.executable, "-P", "-m", "hatchling", "build", "--target", "wheel", "--directory", folder)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def files(wheel: Path) -> set[str]:
    return set(zipfile.ZipFile(wheel).namelist())


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fresh virtual environment with the wheel in it, as a user has it: not editable."""
    environment = tmp_path_factory.mktemp("installed") / "environment"
    run(sys.executable, "-m", "venv", "--without-pip", environment)
    pip = (sys.executable, "-P", "-m", "pip", "--disable-pip-version-check", "--python", environment / "bin" / "python")
    run(*pip, "install", "--quiet", "--no-deps", "--no-index", wheel)
    _borrow_dependencies(environment)
    return environment


@pytest.mark.slow
def test_the_wheel_holds_exactly_our_packages(files):
    top = {name.split("/")[0] for name in files}
    assert {name for name in top if not name.endswith(".dist-info")} == set(PACKAGES)


@pytest.mark.slow
def test_the_wheel_holds_every_file_of_our_packages(files):
    ours = {
        path.relative_to(PROJECT).as_posix()
        for package in PACKAGES
        for path in (PROJECT / package).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert {name for name in files if ".dist-info/" not in name} == ours


@pytest.mark.slow
def test_the_installed_wheel_runs_from_a_folder_that_has_modules_of_our_names(installed, tmp_path):
    for name, source in _WOULD_SHADOW.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(source)
    assert "api_port = 8000" in run(installed / "bin" / "varve", "config", "show", cwd=tmp_path)
    where = run(installed / "bin" / "python", "-P", "-c", "import domain; print(domain.__file__)", cwd=tmp_path)
    assert Path(where.strip()).is_relative_to(installed)


@pytest.mark.slow
def test_the_installed_wheel_says_that_it_has_no_tests(installed, tmp_path):
    result = subprocess.run(
        [installed / "bin" / "varve", "test"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert result.returncode == 1
    assert "Clone the repository and run there: python3 varve test" in result.stderr
    assert "Traceback" not in result.stderr


def _borrow_dependencies(environment: Path) -> None:
    """Let `environment` see our installed packages; path files in there are not read, so no editable install is."""
    (site_packages,) = environment.glob("lib/python*/site-packages")
    (site_packages / "dependencies.pth").write_text(f"{sysconfig.get_path('purelib')}\n")
