"""A disk that is really full: the lane stands and says so, nothing is parked, and it goes on when there is room."""

import contextlib
import os
import subprocess
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import psycopg
import pytest
from structlog.testing import capture_logs

from eventstore.fault_log import FAULTS
from tests.projections.counting import counts, named
from tests.projections.engines import engine_of, lanes, until, until_caught_up
from tests.projections.sending import create
from varve.bootstrap import open_platform

NAME = "on_a_full_disk"
TABLE = f"read_models.{NAME}_1_counts"


def small_disk_in(folder: Path, server: int) -> Path | None:
    """Mount a megabyte for the user that a process of the server runs as; None where that is not allowed."""
    folder.chmod(0o711)
    disk = folder / "disk"
    disk.mkdir()
    owner = Path(f"/proc/{server}").stat().st_uid
    command = ["mount", "-t", "tmpfs", "-o", f"size=1m,uid={owner},mode=0700", "tmpfs", str(disk)]
    if os.getuid() != 0 or subprocess.run(command, check=False, capture_output=True).returncode:
        return None
    return disk


@pytest.fixture
async def small_disk(admin) -> AsyncIterator[str]:
    """A tablespace of a megabyte."""
    with tempfile.TemporaryDirectory(prefix="varve-small-") as folder:
        (pid,) = await (await admin.execute("select pg_backend_pid()")).fetchone()
        disk = small_disk_in(Path(folder), pid)
        if disk is None:
            pytest.skip("this machine does not let file systems be mounted")
        try:
            await admin.execute(f"create tablespace small location '{disk}'")
            yield "small"
            await admin.execute(f"alter table {TABLE} set tablespace pg_default")
            await admin.execute("drop tablespace small")
        finally:
            subprocess.run(["umount", "--lazy", str(disk)], check=True)  # noqa: ASYNC221


async def test_a_lane_stands_while_the_disk_is_full_and_parks_nothing(settings, admin, small_disk):
    projection = named(NAME)

    async def is_shown() -> bool:
        return all(lane["error"] == "DiskFull (53100)" for lane in await lanes(admin, NAME))

    FAULTS.forget()
    with capture_logs() as logs:
        async with open_platform(settings) as platform, engine_of(settings, [projection]):
            await until_caught_up(admin, [NAME])
            await admin.execute(f"alter table {TABLE} set tablespace {small_disk}")
            await admin.execute("create table ballast (filling text) tablespace small")
            await admin.execute("alter table ballast alter filling set storage external")
            for size in (100_000, 8_000, 4_000, 100):
                await fill(admin, size)
            await create(platform)
            await until(is_shown, "the lane shows that the disk is full")
            assert FAULTS.not_stored(60) == ["postgresql: disk_full"]
            await admin.execute("drop table ballast")
            await until_caught_up(admin, [NAME])
    assert await counts(admin, NAME) == {"acme": 1}
    assert await (await admin.execute("select * from varve.parked")).fetchall() == []
    failed = [line["event"] for line in logs if line.get("fault") == "disk_full"]
    assert failed == ["lane.failed"]
    FAULTS.forget()


async def fill(admin, size: int) -> None:
    """Add rows until there is no room for one more of this size."""
    with contextlib.suppress(psycopg.errors.DiskFull):
        for _ in range(2_000):
            await admin.execute("insert into ballast values (repeat('x', %s))", (size,))
