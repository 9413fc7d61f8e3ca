import asyncio
import os
import shutil
import signal
import stat
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pytest
import redis.asyncio
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from tests.embedded.asking import REMEMBERED, ask, bystander, is_gone, recall, remember, until
from tests.embedded.conftest import StartableServices
from varve.embedded import (
    AlreadyRunning,
    DataDirectory,
    DataDirectoryInUse,
    DataOfAnotherVersion,
    EmbeddedServices,
    PasswordMissing,
    PostgresTuning,
    ServerDidNotStart,
    ServiceUrls,
    create_database_if_absent,
    urls_of_running_services,
)


async def test_the_vector_extension_can_be_created_in_a_new_database(services: ServiceUrls) -> None:
    url = await create_database_if_absent(services.admin_database_url, "with_vectors")
    await ask(url, "create extension vector")
    assert await ask(url, "select '[1,2]'::vector <-> '[1,3]'::vector") == 1.0


async def test_making_a_database_at_once_and_again_makes_it_once(services: ServiceUrls) -> None:
    urls = await asyncio.gather(*(create_database_if_absent(services.admin_database_url) for _ in range(4)))
    assert len(set(urls)) == 1
    assert await ask(urls[0], "select current_database()") == "varve"


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("server_encoding", "UTF8"),
        ("listen_addresses", ""),
        ("jit", "off"),
        ("TimeZone", "UTC"),
        ("password_encryption", "scram-sha-256"),
        ("data_directory_mode", "0700"),
    ],
)
async def test_a_setting_of_postgresql_is_as_decided(services: ServiceUrls, setting: str, value: str) -> None:
    assert await ask(services.admin_database_url, f"show {setting}") == value


async def test_the_locale_is_the_builtin_one(services: ServiceUrls) -> None:
    locale = "select concat(datlocprovider, ' ', datlocale) from pg_database where datname = 'postgres'"
    assert await ask(services.admin_database_url, locale) == "b C.UTF-8"


async def test_every_way_into_postgresql_asks_for_a_scram_password(services: ServiceUrls) -> None:
    methods = "select array_agg(distinct auth_method) from pg_hba_file_rules"
    assert await ask(services.admin_database_url, methods) == ["scram-sha-256"]


async def test_postgresql_refuses_a_wrong_password(services: ServiceUrls) -> None:
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        await psycopg.AsyncConnection.connect(services.admin_database_url, password="wrong")


async def test_redis_refuses_a_wrong_password(services: ServiceUrls) -> None:
    socket = urlsplit(services.redis_url).path
    async with redis.asyncio.Redis(
        unix_socket_path=socket, password="wrong", retry=Retry(NoBackoff(), retries=0)
    ) as client:
        with pytest.raises(redis.exceptions.ConnectionError, match="invalid username-password pair"):
            await client.ping()


def test_a_new_data_directory_keeps_fsync_on() -> None:
    assert PostgresTuning().fsync


async def test_data_is_there_at_the_second_start(services_of: StartableServices) -> None:
    first = services_of("project")
    await remember(await first.start())
    await first.stop()
    second = services_of("project")
    try:
        assert await recall(await second.start()) == REMEMBERED
    finally:
        await second.stop()


async def test_no_process_and_no_published_url_is_left_after_a_stop(
    services_of: StartableServices, prepare: Callable[[str], DataDirectory]
) -> None:
    services = services_of("project")
    await services.start()
    pids = [services.postgres_pid, services.redis_pid]
    await services.stop()
    assert all(is_gone(pid) for pid in pids)
    assert urls_of_running_services(prepare("project").path) is None


async def test_stopping_one_directory_leaves_another_running(services_of: StartableServices) -> None:
    async with services_of("X2") as staying:
        before = (staying.postgres_pid, staying.redis_pid)
        async with services_of("X"):
            pass
        assert (staying.postgres_pid, staying.redis_pid) == before
        assert None not in before


async def test_a_second_start_says_who_runs_and_changes_nothing(
    services_of: StartableServices, prepare: Callable[[str], DataDirectory]
) -> None:
    running = services_of("project")
    async with running:
        path = prepare("project").path
        before = _changes(path)
        with pytest.raises(AlreadyRunning) as refusal:
            await services_of("project").start()
        assert refusal.value.pid == os.getpid()
        assert _changes(path) == before
        assert running.postgres_pid is not None


async def test_other_processes_find_the_urls(
    services_of: StartableServices, prepare: Callable[[str], DataDirectory]
) -> None:
    services = services_of("project")
    urls = await services.start()
    found = urls_of_running_services(prepare("project").path)
    await services.stop()
    assert found == urls


async def test_no_tcp_port_is_opened(services_of: StartableServices) -> None:
    async with services_of("project") as services:
        listening = _listening_sockets()
        opened = _open_sockets(services.postgres_pid) | _open_sockets(services.redis_pid)
    assert opened
    assert not opened & listening


async def test_servers_and_secrets_are_private(
    services_of: StartableServices, prepare: Callable[[str], DataDirectory]
) -> None:
    async with services_of("project"):
        directory = prepare("project")
        modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in directory.path.iterdir()}
        owner = directory.postgres.stat().st_uid
    assert {modes[name] for name in ("postgres", "run", "redis-6")} == {0o700}
    assert {mode for name, mode in modes.items() if name.endswith((".password", ".log", ".json"))} == {0o600}
    assert owner == directory.account.user_id


async def test_folders_above_the_data_keep_their_modes(services_of: StartableServices, folder: Path) -> None:
    project = folder / "project"
    project.mkdir(mode=0o750)
    above = [project, folder, *folder.parents]
    before = [path.stat().st_mode for path in above]
    async with services_of("project"):
        pass
    assert [path.stat().st_mode for path in above] == before


async def test_a_killed_postgresql_comes_back_with_its_data(services_of: StartableServices) -> None:
    services = services_of("project")
    urls = await services.start()
    try:
        await remember(urls)
        killed = _kill(services.postgres_pid)
        await until(lambda: services.postgres_pid not in {None, killed})
        await _until_it_answers(urls)
        assert await recall(urls) == REMEMBERED
    finally:
        await services.stop()


async def test_a_killed_redis_comes_back_with_its_queues(services_of: StartableServices) -> None:
    services = services_of("project")
    urls = await services.start()
    try:
        await remember(urls)
        killed = _kill(services.redis_pid)
        await until(lambda: services.redis_pid not in {None, killed})
        await _until_it_answers(urls)
        assert await recall(urls) == REMEMBERED
    finally:
        await services.stop()


async def test_data_of_another_major_version_is_refused_and_kept(
    services_of: StartableServices, prepare: Callable[[str], DataDirectory]
) -> None:
    async with services_of("project"):
        pass
    version_file = prepare("project").postgres / "PG_VERSION"
    version_file.write_text("17\n")
    with pytest.raises(DataOfAnotherVersion) as refusal:
        await services_of("project").start()
    assert (refusal.value.found, refusal.value.wanted) == ("17", "18")
    assert version_file.read_text() == "17\n"


async def test_data_whose_password_is_lost_is_refused(
    services_of: StartableServices, prepare: Callable[[str], DataDirectory]
) -> None:
    async with services_of("project"):
        pass
    prepare("project").password_file("postgres").unlink()
    with pytest.raises(PasswordMissing):
        await services_of("project").start()


async def test_a_server_that_cannot_start_shows_the_end_of_its_log(prepare: Callable[[str], DataDirectory]) -> None:
    services = EmbeddedServices(prepare("project"), tuning=PostgresTuning(shared_buffers="nonsense", fsync=False))
    with pytest.raises(ServerDidNotStart, match='invalid value for parameter "shared_buffers"'):
        await services.start()
    assert services.redis_pid is None


async def test_an_interrupted_start_leaves_nothing_behind(prepare: Callable[[str], DataDirectory]) -> None:
    directory = prepare("project")
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await EmbeddedServices(directory, tuning=PostgresTuning.for_throwaway_data()).start()
    async with EmbeddedServices(directory, tuning=PostgresTuning.for_throwaway_data()) as services:
        assert services.postgres_pid is not None
    assert not list(directory.path.glob("*.partial-*"))


async def test_a_process_file_whose_id_another_program_got_does_not_keep_postgresql_from_starting(
    services_of: StartableServices, prepare: Callable[[str], DataDirectory]
) -> None:
    async with services_of("project"):
        pass
    directory = prepare("project")
    with bystander(user=directory.account.user_id) as process:
        process_file = directory.postgres / "postmaster.pid"
        process_file.write_text(f"{process.pid}\n{directory.postgres}\n1\n5432\n\n\n")
        directory.account.give(process_file)
        async with services_of("project") as services:
            assert services.postgres_pid is not None
        assert process.poll() is None


async def test_a_postgresql_that_varve_did_not_start_is_left_alone(
    services_of: StartableServices, prepare: Callable[[str], DataDirectory]
) -> None:
    async with services_of("project"):
        pass
    directory = prepare("project")
    with bystander(str(directory.postgres)) as foreign:
        process_file = directory.postgres / "postmaster.pid"
        process_file.write_text(f"{foreign.pid}\n")
        with pytest.raises(DataDirectoryInUse):
            await services_of("project").start()
        assert foreign.poll() is None
        assert process_file.exists()


async def test_a_project_folder_with_a_long_and_odd_name_works(services_of: StartableServices) -> None:
    async with services_of("a, long 'folder' % name é " * 5) as services:
        assert services.postgres_pid is not None


async def test_a_copied_project_folder_gets_data_of_its_own(
    services_of: StartableServices, prepare: Callable[[str], DataDirectory], folder: Path
) -> None:
    async with services_of("X") as original:
        shutil.copytree(folder / "X", folder / "copy", symlinks=True, ignore=shutil.ignore_patterns("run"))
        async with services_of("copy") as copied:
            assert copied.postgres_pid != original.postgres_pid
    assert prepare("copy").path != prepare("X").path


def _kill(pid: int | None) -> int:
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    return pid


async def _until_it_answers(urls: ServiceUrls) -> None:
    async with asyncio.timeout(15):
        while True:
            try:
                await recall(urls)
            except (psycopg.OperationalError, redis.exceptions.RedisError):
                await asyncio.sleep(0.05)
            else:
                return


def _changes(folder: Path) -> dict[str, tuple[int, int]]:
    """When the files that Varve writes were last changed (the servers write theirs all the time)."""
    files = [path for path in folder.iterdir() if path.is_file()]
    return {path.name: (path.stat().st_mtime_ns, path.stat().st_size) for path in files}


def _open_sockets(pid: int | None) -> set[str]:
    links = [str(path.readlink()) for path in Path(f"/proc/{pid}/fd").iterdir()]
    return {link.removeprefix("socket:[").removesuffix("]") for link in links if link.startswith("socket:[")}


def _listening_sockets() -> set[str]:
    """The inodes of TCP sockets, which is the tenth column."""
    tables = [Path("/proc/net/tcp"), Path("/proc/net/tcp6")]
    return {line.split()[9] for table in tables if table.exists() for line in table.read_text().splitlines()[1:]}
