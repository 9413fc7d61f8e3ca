import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from varve.embedded import DataDirectory, EmbeddedServices, PostgresTuning, running_services

StartableServices = Callable[[str], EmbeddedServices]


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that every user can come through, as pytest's own can't be."""
    with tempfile.TemporaryDirectory(prefix="varve-tests-") as temporary:
        Path(temporary).chmod(0o711)
        yield Path(temporary)


@pytest.fixture
def prepare(folder: Path) -> Callable[[str], DataDirectory]:
    """Prepare the data directory of a project folder, by the project's name."""

    def prepared(project: str) -> DataDirectory:
        return DataDirectory.prepare(folder / project / ".varve", system_folder=folder / "system")

    return prepared


@pytest.fixture(scope="session")
def initialised() -> Iterator[DataDirectory]:
    """A data directory that was started once: making one takes a second, copying it much less."""
    with tempfile.TemporaryDirectory(prefix="varve-tests-") as temporary:
        Path(temporary).chmod(0o711)
        project = Path(temporary, "project", ".varve")
        directory = DataDirectory.prepare(project, system_folder=Path(temporary, "system"))
        with running_services(directory, tuning=PostgresTuning.for_throwaway_data()):
            pass
        yield directory


@pytest.fixture
def services_of(prepare: Callable[[str], DataDirectory], initialised: DataDirectory) -> StartableServices:
    """Services of a project folder, not started yet."""

    def make(project: str) -> EmbeddedServices:
        directory = prepare(project)
        if not directory.postgres.exists():
            made = [initialised.password_file("postgres"), initialised.postgres]
            subprocess.run(["cp", "-a", *made, directory.path], check=True)
        return EmbeddedServices(directory, tuning=PostgresTuning.for_throwaway_data(), start_timeout=30)

    return make
