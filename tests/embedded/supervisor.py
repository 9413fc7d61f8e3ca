"""A supervisor in a process of its own, as ourselves or as another user."""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.embedded import run_services
from varve.embedded import ServiceUrls

PROJECT = Path(run_services.__file__).parents[2]


@dataclass(frozen=True)
class Supervised:
    """A supervisor that has started its services."""

    process: "subprocess.Popen[str]"
    postgres_pid: int
    redis_pid: int
    path: Path
    urls: ServiceUrls

    def kill(self) -> None:
        """End the supervisor, and only it, without a chance to clean up."""
        self.process.kill()
        self.process.wait()


@contextmanager
def supervisor(
    folder: Path,
    system_folder: Path,
    *,
    python: str = sys.executable,
    modules: Path = PROJECT,
    user: int | None = None,
) -> Iterator[Supervised]:
    """Start one, and end it cleanly unless the test has killed it."""
    process = subprocess.Popen(
        [python, "-P", "-m", run_services.__name__, str(folder), str(system_folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd="/",
        env={
            "PYTHONPATH": str(modules),
            "PATH": "/usr/bin:/bin",
            "LD_LIBRARY_PATH": str(Path(python).parents[1] / "lib"),  # a copied Python finds its own library
        },
        user=user,
        group=user,
        extra_groups=None if user is None else [],
    )
    with process:
        yield _started(process)
        if process.poll() is None and process.stdin is not None:
            process.stdin.close()
            assert process.wait(timeout=30) == 0


def _started(process: "subprocess.Popen[str]") -> Supervised:
    for line in process.stdout or ():
        if line.startswith("started "):
            said = json.loads(line.removeprefix("started "))
            return Supervised(
                process,
                said["postgres"],
                said["redis"],
                Path(said["path"]),
                ServiceUrls(said["admin_database_url"], said["redis_url"]),
            )
    raise AssertionError("the supervisor ended before its services answered")
