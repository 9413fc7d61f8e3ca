"""The launcher, run as a newcomer runs it, on a small project whose packages are made here: no network is needed."""

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

import varve

COMMAND_LINE = """
import json, sys
def main():
    import pebble
    print(json.dumps({"arguments": sys.argv, "path": sys.path, "prefix": sys.prefix, "pebble": pebble.VERSION}))
"""
BACKEND = """
import pathlib, zipfile
def build_editable(folder, config_settings=None, metadata_directory=None):
    name = "varve-0.1.0-py3-none-any.whl"
    with zipfile.ZipFile(pathlib.Path(folder, name), "w") as wheel:
        wheel.writestr("varve.pth", str(pathlib.Path.cwd()))
        wheel.writestr("varve-0.1.0.dist-info/METADATA", "Metadata-Version: 2.1\\nName: varve\\nVersion: 0.1.0\\n")
        tags = "Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n"
        wheel.writestr("varve-0.1.0.dist-info/WHEEL", tags)
        wheel.writestr("varve-0.1.0.dist-info/RECORD", "")
    return name
"""
PYPROJECT = """
[project]
name = "varve"
version = "0.1.0"
[build-system]
requires = []
build-backend = "backend"
backend-path = ["."]
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    project = tmp_path / "clone"
    (project / "varve").mkdir(parents=True)
    (project / "varve" / "__init__.py").touch()
    (project / "varve" / "cli.py").write_text(COMMAND_LINE)
    shutil.copy(Path(varve.__file__).with_name("__main__.py"), project / "varve")
    (project / "backend.py").write_text(BACKEND)
    (project / "pyproject.toml").write_text(PYPROJECT)
    lock(project, "1.0")
    return project


@pytest.fixture(autouse=True)
def sigint_is_not_ignored() -> Iterator[None]:
    """What runs the tests in the background may ignore it, and every child inherits that."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def lock(project: Path, version: str) -> None:
    """Make the wheel `pebble` and a lock that wants it."""
    wheels = project / "wheels"
    wheels.mkdir(exist_ok=True)
    name = f"pebble-{version}-py3-none-any.whl"
    information = f"pebble-{version}.dist-info"
    with zipfile.ZipFile(wheels / name, "w") as wheel:
        wheel.writestr("pebble.py", f"VERSION = {version!r}")
        wheel.writestr(f"{information}/METADATA", f"Metadata-Version: 2.1\nName: pebble\nVersion: {version}\n")
        wheel.writestr(f"{information}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{information}/RECORD", "")
    digest = hashlib.sha256((wheels / name).read_bytes()).hexdigest()
    (project / "requirements.lock").write_text(f"pebble=={version} \\\n    --hash=sha256:{digest}\n")


def start(project: Path, *command: str, folder: Path | None = None, **variables: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        command or [sys.executable, str(project / "varve"), "demo"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=folder or project,
        env={
            "PATH": "/usr/bin:/bin",
            "PIP_CONFIG_FILE": os.devnull,
            "PIP_NO_INDEX": "1",
            "PIP_FIND_LINKS": str(project / "wheels"),
            **variables,
        },
    )


def launch(project: Path, *command: str, folder: Path | None = None, **variables: str) -> tuple[int, str]:
    process = start(project, *command, folder=folder, **variables)
    said, _ = process.communicate(timeout=60)
    return process.returncode, said


def answer(said: str) -> dict[str, object]:
    return dict(json.loads(said.splitlines()[-1]))


def module_path(said: str) -> set[str]:
    return set(json.loads(said.splitlines()[-1])["path"])


def test_the_first_start_prepares_and_the_second_goes_straight_on(project: Path) -> None:
    code, said = launch(project)
    assert code == 0, said
    assert "installing 1 packages" in said
    assert answer(said)["prefix"] == str(project / ".venv")
    assert answer(said)["arguments"] == ["varve", "demo"]

    code, said = launch(project)
    assert (code, len(said.splitlines())) == (0, 1)

    lock(project, "2.0")
    assert answer(launch(project)[1])["pebble"] == "2.0"

    (project / ".venv" / "varve.unfinished").touch()
    assert "installing 1 packages" in launch(project)[1]


def test_working_folders_and_our_own_are_never_on_the_module_path(project: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    for name in ("json", "pathlib", "subprocess", "venv", "api", "domain"):
        (elsewhere / f"{name}.py").write_text("raise SystemExit('shadowed')")
        (project / "varve" / f"{name}.py").write_text("raise SystemExit('shadowed')")
    code, said = launch(project, sys.executable, str(project / "varve"), folder=elsewhere, PYTHONPATH="")
    assert code == 0, said
    assert not {"", str(elsewhere), str(project / "varve")} & module_path(said)

    inside = [str(project / ".venv" / "bin" / "python"), "-m", "varve"]
    code, said = launch(project, *inside, folder=elsewhere)
    assert code == 0, said
    assert str(elsewhere) not in module_path(said)


def interrupt_the_preparation(project: Path, sent: signal.Signals) -> None:
    """Send a signal in the middle; where the machine was too busy for that, begin again."""
    for _ in range(10):
        with start(project) as interrupted:
            wait_for(project / ".venv" / "bin" / "python")
            interrupted.send_signal(sent)
            interrupted.wait()
        if not (project / ".venv" / "varve.json").exists():
            return
        shutil.rmtree(project / ".venv")
    pytest.fail("no preparation was interrupted")


@pytest.mark.parametrize("sent", [signal.SIGKILL, signal.SIGINT])
def test_an_interrupted_preparation_is_not_trusted_by_the_next(project: Path, sent: signal.Signals) -> None:
    interrupt_the_preparation(project, sent)
    code, said = launch(project)
    assert code == 0, said
    assert answer(said)["pebble"] == "1.0"


def test_two_launchers_at_once_prepare_once(project: Path) -> None:
    first, second = start(project), start(project)
    said = [process.communicate(timeout=60)[0] for process in (first, second)]
    assert [first.returncode, second.returncode] == [0, 0], said
    assert sum("installing 1 packages" in text for text in said) == 1
    assert sum("Waiting for another start" in text for text in said) == 1


def test_a_failure_shows_the_end_of_pips_log_and_names_it(project: Path) -> None:
    locked = project / "requirements.lock"
    locked.write_text(locked.read_text().replace("sha256:", "sha256:0000")[:-5] + "\n")
    code, said = launch(project)
    assert code == 1
    assert "THESE PACKAGES DO NOT MATCH THE HASHES" in said
    assert str(project / ".venv" / "varve.log") in said
    assert not (project / ".venv" / "varve.json").exists()


def test_an_environment_that_somebody_else_made_is_completed_and_not_cleared(project: Path) -> None:
    subprocess.run([sys.executable, "-m", "venv", str(project / ".venv")], check=True)
    treasure = project / ".venv" / "treasure"
    treasure.touch()
    code, said = launch(project)
    assert (code, answer(said)["pebble"]) == (0, "1.0")
    assert treasure.exists()


def test_a_moved_project_gets_a_new_environment(project: Path, tmp_path: Path) -> None:
    launch(project)
    moved = project.rename(tmp_path / "moved")
    code, said = launch(moved)
    assert code == 0, said
    assert answer(said)["prefix"] == str(moved / ".venv")


def test_a_missing_part_of_python_is_named_with_its_package(project: Path) -> None:
    # Debian takes `ensurepip` out of Python's own folder; a finder that hides it is the same to the launcher.
    hide = "import sys, importlib.util as u, runpy; f = u.find_spec; "
    hide += "u.find_spec = lambda name, *rest: None if name == 'ensurepip' else f(name, *rest); "
    hide += f"sys.argv = ['varve']; runpy.run_path({str(project / 'varve')!r}, run_name='__main__')"
    code, said = launch(project, sys.executable, "-c", hide)
    assert code == 1
    assert f"apt-get install python{sys.version_info.major}.{sys.version_info.minor}-venv" in said


def test_an_old_python_can_parse_the_launcher_and_is_told_what_it_lacks(project: Path) -> None:
    import ast

    source = (project / "varve" / "__main__.py").read_text()
    ast.parse(source, feature_version=(3, 6))
    old = source.replace("sys.version_info <", "(3, 6, 0) <")
    (project / "varve" / "__main__.py").write_text(old)
    code, said = launch(project)
    assert code == 1
    assert "needs Python 3.11 or newer" in said


def wait_for(path: Path) -> None:
    end = time.monotonic() + 30
    while not path.exists():
        assert time.monotonic() < end, f"{path} did not appear"
        time.sleep(0.02)
