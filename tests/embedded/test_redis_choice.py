from collections.abc import Callable
from pathlib import Path

import pytest

from varve.embedded import DataDirectory
from varve.embedded.binaries import find_redis


@pytest.mark.parametrize(
    ("program", "says", "version"),
    [
        ("redis-server", "Redis server v=7.2.4 sha=00000000:0 malloc=libc bits=64", "redis-7"),
        ("valkey-server", "Valkey server v=8.0.1 sha=00000000:0 malloc=libc bits=64", "valkey-8"),
    ],
)
def test_a_newer_server_on_the_path_is_preferred(
    prepare: Callable[[str], DataDirectory], folder: Path, program: str, says: str, version: str
) -> None:
    _install(folder / program, says)
    found = find_redis(prepare("project"), search_path=str(folder))
    assert (found.path, found.version) == (folder / program, version)


def test_an_old_server_on_the_path_is_passed_over(prepare: Callable[[str], DataDirectory], folder: Path) -> None:
    _install(folder / "redis-server", "Redis server v=6.0.16 sha=00000000:0 malloc=libc bits=64")
    found = find_redis(prepare("project"), search_path=str(folder))
    assert found.path.parent != folder
    assert found.version == "redis-6"


def _install(program: Path, says: str) -> None:
    program.write_text(f"#!/bin/sh\necho '{says}'\n")
    program.chmod(0o755)
