import os
import signal
import subprocess
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path

import pytest

from tests.embedded.asking import REMEMBERED, bystander, recall, remember, until
from tests.embedded.conftest import StartableServices
from tests.embedded.supervisor import supervisor
from varve.embedded import DataDirectory, PostgresTuning, child
from varve.embedded.become import boot_id, start_ticks
from varve.embedded.binaries import find_postgres, find_redis
from varve.embedded.postgres import Postgres
from varve.embedded.process_record import ProcessRecord, read_record
from varve.embedded.redis_server import RedisServer


async def test_the_next_start_recovers_the_data_of_a_killed_supervisor(
    services_of: StartableServices, folder: Path
) -> None:
    with supervisor(folder / "project" / ".varve", folder / "system") as killed:
        await remember(killed.urls)
        killed.kill()
    services = services_of("project")
    try:
        assert await recall(await services.start()) == REMEMBERED
    finally:
        await services.stop()


async def test_the_servers_of_a_killed_supervisor_end_by_themselves(folder: Path) -> None:
    with supervisor(folder / "project" / ".varve", folder / "system") as killed:
        killed.kill()
    await until(lambda: start_ticks(killed.postgres_pid) is None and start_ticks(killed.redis_pid) is None)


async def test_everything_killed_at_once_is_recovered(services_of: StartableServices, folder: Path) -> None:
    with supervisor(folder / "project" / ".varve", folder / "system") as killed:
        await remember(killed.urls)
        killed.kill()
        os.kill(killed.postgres_pid, signal.SIGKILL)
        os.kill(killed.redis_pid, signal.SIGKILL)
    services = services_of("project")
    try:
        assert await recall(await services.start()) == REMEMBERED
    finally:
        await services.stop()


@pytest.fixture
async def orphans(
    services_of: StartableServices, prepare: Callable[[str], DataDirectory]
) -> "AsyncIterator[list[subprocess.Popen[bytes]]]":
    """Both servers, running on a data directory without a supervisor."""
    async with services_of("project"):
        pass
    directory = prepare("project")
    sockets = directory.socket_folder()
    postgres = Postgres(
        directory,
        find_postgres(directory),
        socket_folder=sockets,
        tuning=PostgresTuning.for_throwaway_data(),
    )
    redis = RedisServer(directory, find_redis(directory), socket_folder=sockets)
    processes = [child.start(server.command()) for server in (postgres, redis)]
    await until(lambda: (directory.postgres / "postmaster.pid").exists() and (sockets / "redis.sock").exists())
    yield processes
    for process in processes:
        if process.poll() is None:
            process.kill()
        process.wait()


async def test_orphaned_servers_are_stopped_before_new_ones_start(
    services_of: StartableServices,
    orphans: "list[subprocess.Popen[bytes]]",
) -> None:
    async with services_of("project") as services:
        assert [process.poll() for process in orphans] == [0, 0]
        assert services.postgres_pid is not None


async def test_a_record_of_another_program_with_the_same_id_is_not_believed(
    services_of: StartableServices, prepare: Callable[[str], DataDirectory]
) -> None:
    directory = prepare("project")
    with bystander() as process:
        earlier = (start_ticks(process.pid) or 0) - 100
        directory.process_record("postgres").write_text(f"{process.pid} {earlier} {boot_id()}\n")
        async with services_of("project"):
            assert process.poll() is None


def test_a_record_of_another_boot_is_not_believed() -> None:
    ourselves = ProcessRecord(os.getpid(), start_ticks(os.getpid()) or 0, boot_id())
    assert ourselves.is_alive()
    assert not replace(ourselves, boot="another").is_alive()


def test_half_a_record_is_none(tmp_path: Path) -> None:
    (tmp_path / "record").write_text("123 4")
    assert read_record(tmp_path / "record") is None
