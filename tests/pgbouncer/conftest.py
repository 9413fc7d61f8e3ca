"""Everything that the shared fixtures open goes through a PgBouncer of the test's own, in transaction mode."""

import os
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from pydantic import SecretStr

from tests.pgbouncer.server import NEEDED, PgBouncer, find_program, installed_version
from varve.settings import Settings

_MISSING = (
    "PgBouncer 1.22 or newer is not installed here: as root on Debian, `bash .ci/install-pgbouncer` does it (found: {})"
)


@pytest.fixture(scope="session")
def pgbouncer_is_there() -> None:
    """In CI a missing program is a failure; elsewhere these tests are left out, and the summary says why."""
    if installed_version() >= NEEDED:
        return
    missing = _MISSING.format(find_program() or "none")
    if os.environ.get("CI"):
        pytest.fail(missing)
    pytest.skip(missing)


@pytest.fixture
def prepared_statements() -> int:
    """How many prepared statements PgBouncer keeps; with none of them, Varve is told to prepare none."""
    return 200


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder with a short path, as sockets need one; as root, PgBouncer runs as another user, who comes through."""
    with tempfile.TemporaryDirectory(prefix="varve-pgb-") as temporary:
        Path(temporary).chmod(0o711)
        made = Path(temporary) / "pgb"
        made.mkdir(mode=0o700)
        yield made


@pytest.fixture
async def pgbouncer(pgbouncer_is_there: None, folder: Path, prepared_statements: int) -> AsyncIterator[PgBouncer]:
    """The pooler of the test's database, with two server connections for each role."""
    pooler = PgBouncer(folder, prepared_statements=prepared_statements)
    try:
        yield pooler
    finally:
        await pooler.stop()


@pytest.fixture
async def settings(settings: Settings, pgbouncer: PgBouncer) -> Settings:
    """The shared fixture's settings, with the pooler in between."""
    pgbouncer.pool(settings.required_database_url())
    return settings.model_copy(
        update={
            "pooled_database_url": SecretStr(pgbouncer.url()),
            "pooled_prepared_statements": pgbouncer.prepared_statements > 0,
        }
    )
