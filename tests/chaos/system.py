"""The system under test: embedded servers and Varve's processes, each started again when it dies."""

import asyncio
import os
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import httpx
import psycopg
import redis.asyncio

from varve.embedded import DataDirectory, EmbeddedServices
from varve.migrate import migrate
from varve.servers import with_embedded_servers
from varve.settings import Settings

Kind = Literal["api", "projections", "documents"]

_PROCESSES: dict[Kind, int] = {"api": 1, "projections": 2, "documents": 2}
_RESTART_SECONDS = 0.2
_STOP_SECONDS = 20.0
_CONNECT_SECONDS = 3
_LOOK_SECONDS = 0.05
_READY_SECONDS = 60.0

_LANES = """
select l.projection, l.position, case when l.leased_until > clock_timestamp() then l.owner end
from varve.lanes l join varve.generations g using (projection, generation) where g.status = %s
"""


@dataclass(frozen=True, slots=True)
class Lane:
    projection: str
    position: int
    owner: str | None
    """The engine that has the lease, if any; the second part of its name is its process id."""

    @property
    def owner_pid(self) -> int | None:
        return None if self.owner is None else int(self.owner.split(":")[1])


_NO_LANE = Lane("none yet", 0, None)


@dataclass(frozen=True, slots=True)
class Death:
    """The end of a process that nobody asked to end."""

    pid: int
    returncode: int
    at: float


@dataclass
class Group:
    """The processes of one kind.

    `trap` is the line that each of them, also one that is started later, has been told.
    """

    kind: Kind
    environment: Mapping[str, str]
    log_folder: Path
    trap: str = ""
    deaths: "asyncio.Queue[Death]" = field(default_factory=asyncio.Queue)
    history: list[Death] = field(default_factory=list)
    processes: dict[int, asyncio.subprocess.Process] = field(default_factory=dict)
    stopped: set[int] = field(default_factory=set)
    """Processes that were stopped: to such a one, when it is woken, its event loop seems to have hung."""

    async def keep_running(self, number: int) -> None:
        """Run one process of the group, again and again, until cancelled."""
        process: asyncio.subprocess.Process | None = None
        try:
            while True:
                process = await self._start(number)
                returncode = await process.wait()
                del self.processes[process.pid]
                death = Death(process.pid, returncode, time.monotonic())
                self.history.append(death)
                self.deaths.put_nowait(death)
                await asyncio.sleep(_RESTART_SECONDS)
        finally:
            if process is not None and process.returncode is None:
                await _stop(process)
                self.processes.pop(process.pid, None)

    def set_trap(self, line: str) -> None:
        """Tell every process of the group where to signal itself; an empty line takes that back."""
        self.trap = line
        for process in self.processes.values():
            _tell(process, line)

    def set_trap_of(self, pid: int, line: str) -> None:
        """Tell one process of the group alone: what all are told, two may reach before it is taken back."""
        if pid in self.processes:
            _tell(self.processes[pid], line)

    def signal(self, pid: int, number: signal.Signals) -> None:
        """Signal a process of the group, unless it has just ended."""
        if pid in self.processes:
            if number is signal.SIGSTOP:
                self.stopped.add(pid)
            with suppress(ProcessLookupError):
                os.kill(pid, number)

    async def kill(self, choose: Callable[[], Awaitable[int | None]]) -> Death:
        """Kill the process that `choose` names and return its end; asks again when that one has just ended."""
        while True:
            pid = await choose()
            if pid in self.processes:
                self._forget_deaths()
                os.kill(pid, signal.SIGKILL)
                began = time.monotonic()
                return replace(await self.deaths.get(), at=began)
            await asyncio.sleep(_LOOK_SECONDS)

    async def die_at(self, trap: str, seconds: float) -> Death:
        """Let a process die in a trap and return its end; the others' traps are taken away.

        Raises:
            TimeoutError: none came by.
        """
        self._forget_deaths()
        self.set_trap(trap)
        try:
            return await asyncio.wait_for(self.deaths.get(), seconds)
        finally:
            self.set_trap("")

    def _forget_deaths(self) -> None:
        while not self.deaths.empty():
            self.deaths.get_nowait()

    async def _start(self, number: int) -> asyncio.subprocess.Process:
        with (self.log_folder / f"{self.kind}-{number}.log").open("ab") as log_file:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-P",
                "-m",
                "tests.chaos.process",
                self.kind,
                stdin=asyncio.subprocess.PIPE,
                stdout=log_file,
                stderr=log_file,
                env=dict(self.environment),
                cwd=self.log_folder,
                start_new_session=True,
            )
        self.processes[process.pid] = process
        if self.trap:
            _tell(process, self.trap)
        return process


class System:
    """What the faults are done to, and what is asked how it is."""

    def __init__(self, settings: Settings, services: EmbeddedServices, groups: Mapping[Kind, Group]) -> None:
        self.settings = settings
        self.services = services
        self.groups = groups
        self.url = f"http://{settings.api_host}:{settings.api_port}"

    async def rows(self, sql: str, parameters: Sequence[Any] = ()) -> list[Any]:
        """Ask PostgreSQL as its superuser, through a connection of its own.

        Raises:
            psycopg.OperationalError: it is down.
        """
        async with self.connection() as connection:
            return await (await connection.execute(sql, parameters)).fetchall()

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[psycopg.AsyncConnection[Any]]:
        """Connect to PostgreSQL as its superuser, in autocommit mode.

        Raises:
            psycopg.OperationalError: it is down.
        """
        url = self.settings.required_database_url()
        async with await psycopg.AsyncConnection.connect(
            url, autocommit=True, connect_timeout=_CONNECT_SECONDS
        ) as connection:
            yield connection

    async def lanes(self, status: Literal["live", "building"] = "live") -> list[Lane]:
        """Return the lanes of the generations that are read, or of those that are filled."""
        return [Lane(*row) for row in await self.rows(_LANES, (status,))]

    async def head(self) -> int:
        return int((await self.rows("select varve.head()"))[0][0])

    async def redis_answers(self) -> bool:
        async with self.redis() as client:
            try:
                return bool(await client.ping())
            except redis.RedisError:
                return False

    def redis(self) -> "redis.asyncio.Redis":
        """Return a client of the system's Redis, to be closed by the caller."""
        return redis.asyncio.Redis.from_url(self.settings.required_redis_url(), socket_timeout=2)

    def pids(self) -> set[int]:
        """Return the ids of all processes that are meant to run now."""
        servers = {pid for pid in (self.services.postgres_pid, self.services.redis_pid) if pid is not None}
        return servers | {pid for group in self.groups.values() for pid in group.processes}


@asynccontextmanager
async def running_system(folder: Path) -> AsyncIterator[System]:
    """Run everything in `folder`, which the servers' user can enter, until the block ends."""
    directory = DataDirectory.prepare(folder / "project" / ".varve", system_folder=folder / "system")
    services = EmbeddedServices(directory)
    urls = await services.start()
    try:
        given = Settings(data_directory=directory.path, embedder="hashing", api_port=_free_port())
        settings = await with_embedded_servers(given, urls)
        await migrate(settings)
        async with _running_processes(settings, folder) as groups:
            system = System(settings, services, groups)
            await _until_ready(system)
            yield system
    finally:
        await services.stop()


@asynccontextmanager
async def _running_processes(settings: Settings, log_folder: Path) -> AsyncIterator[Mapping[Kind, Group]]:
    environment = _environment_of(settings)
    groups = {kind: Group(kind, environment, log_folder) for kind in _PROCESSES}
    tasks = [
        asyncio.create_task(groups[kind].keep_running(number), name=f"{kind}-{number}")
        for kind, count in _PROCESSES.items()
        for number in range(1, count + 1)
    ]
    try:
        yield groups
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _until_ready(system: System) -> None:
    async with asyncio.timeout(_READY_SECONDS), httpx.AsyncClient(base_url=system.url, trust_env=False) as client:
        while True:
            with suppress(httpx.HTTPError):
                is_ready = (await client.get("/health/ready")).is_success
                if is_ready and all(lane.owner for lane in await system.lanes() or [_NO_LANE]):
                    return
            await asyncio.sleep(_LOOK_SECONDS)


def _environment_of(settings: Settings) -> dict[str, str]:
    """Return what the processes get: all the settings, so that they read no file."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("VARVE_")}
    values = settings.model_dump(mode="json", exclude_none=True)
    for name in ("database_url", "redis_url", "secret_key"):
        values[name] = getattr(settings, name).get_secret_value()
    return inherited | {f"VARVE_{name.upper()}": str(value) for name, value in values.items()}


def _tell(process: asyncio.subprocess.Process, line: str) -> None:
    if process.stdin is not None and not process.stdin.is_closing():
        process.stdin.write(f"{line}\n".encode())  # far less than a pipe holds, so there is nothing to wait for


async def _stop(process: asyncio.subprocess.Process) -> None:
    with suppress(ProcessLookupError):
        process.send_signal(signal.SIGCONT)
        process.terminate()
        try:
            await asyncio.wait_for(process.wait(), _STOP_SECONDS)
        except TimeoutError:
            process.kill()
            await process.wait()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
