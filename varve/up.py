"""Starts the whole system on one machine, watches over it, and stops it."""

import asyncio
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import httpx
import structlog
from pydantic import SecretStr

from eventstore.background import completed, end
from varve.bootstrap import embedder
from varve.child import AFTER_CRASH, FAILED, READY_FILE
from varve.client import URL_FILE
from varve.embedded import EmbeddedServices
from varve.migrate import migrate
from varve.servers import is_embedded, with_embedded_servers
from varve.settings import Settings

log = structlog.get_logger()

_READY_SECONDS = 60.0
_STOP_SECONDS = 15.0
_FIRST_PAUSE = 0.2
_LONGEST_PAUSE = 10.0
_STEADY_SECONDS = 30.0
_FROM_OUTSIDE = {0, -signal.SIGKILL, -signal.SIGTERM, -signal.SIGINT}
_CHILD = """
import sys
from varve.child import main
main(int(sys.argv[1]), sys.argv[2:])
"""


class NotReadyError(Exception):
    """The system did not become ready in time; the message says where to look."""


class PortInUseError(Exception):
    """Another program listens where the API should."""

    def __init__(self, host: str, port: int) -> None:
        super().__init__(
            f"Another program listens on {host}:{port}. Stop it, or choose another port: VARVE_API_PORT={port + 1}"
        )


@dataclass(frozen=True, slots=True)
class RunningSystem:
    """A system that is ready.

    Attributes:
        settings: with the URLs of the servers in use.
        url: where the API listens.
        log_folder: what the processes say.
        processes: the process ids by name, as they are now; a process that died and was started again has another.
    """

    settings: Settings
    url: str
    log_folder: Path
    processes: "Mapping[str, ChildProcess]"


class ChildProcess:
    """One of Varve's own processes, started again when it dies."""

    def __init__(
        self,
        name: str,
        arguments: tuple[str, ...],
        environment: Mapping[str, str],
        log_file: Path,
        program: str = _CHILD,
    ) -> None:
        """Take what the process is called, is told and writes to; `program` is the Python that it runs."""
        self._name = name
        self._program = program
        self._arguments = arguments
        self._environment = environment
        self._log_file = log_file
        self._ready_file = log_file.with_suffix(".ready")
        self._process: asyncio.subprocess.Process | None = None
        self._has_crashed = False

    @property
    def pid(self) -> int | None:
        return None if self._process is None or self._process.returncode is not None else self._process.pid

    @property
    def is_ready(self) -> bool:
        """Whether the process says that it does its work."""
        return self.pid is not None and self._ready_file.exists()

    async def run(self) -> None:
        """Run until cancelled, then stop the process.

        The pauses grow for one that gives up, or never becomes ready. One that is ended at its work, by an event that
        hangs or kills it, is wanted at once: others wait for it, and the event is found after few such ends.
        """
        pause = _FIRST_PAUSE
        try:
            while True:
                started = asyncio.get_running_loop().time()
                await self._start()
                returncode = await self._process.wait() if self._process else None
                is_steady = asyncio.get_running_loop().time() - started > _STEADY_SECONDS
                was_ended = self._ready_file.exists() and returncode != FAILED
                self._has_crashed = was_ended and returncode not in _FROM_OUTSIDE
                pause = _FIRST_PAUSE if is_steady or was_ended else min(pause * 2, _LONGEST_PAUSE)
                log.error("process.died", process=self._name, returncode=returncode, starts_again_in_seconds=pause)
                await asyncio.sleep(pause)
        finally:
            await completed(self._stop())  # `end` cancels again after some seconds, and a hung one must be killed

    async def _start(self) -> None:
        self._ready_file.unlink(missing_ok=True)
        after_crash = {AFTER_CRASH: "1"} if self._has_crashed else {}
        with self._log_file.open("ab") as log_file:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-P",  # the working folder is never on the module path
                "-c",
                self._program,
                str(os.getpid()),
                *self._arguments,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log_file,
                stderr=log_file,
                env={**self._environment, READY_FILE: str(self._ready_file), **after_crash},
                start_new_session=True,  # Ctrl-C reaches the supervisor alone
            )
        log.info("process.started", process=self._name, process_id=self._process.pid)

    async def _stop(self) -> None:
        if self._process is None or self._process.returncode is not None:
            return
        with suppress(ProcessLookupError):
            self._process.terminate()
            try:
                async with asyncio.timeout(_STOP_SECONDS):
                    await self._process.wait()
            except TimeoutError:
                self._process.kill()
                await self._process.wait()


@asynccontextmanager
async def running_system(settings: Settings) -> AsyncIterator[RunningSystem]:
    """Start everything, yield when it is ready, and stop it at the end.

    Raises:
        EmbeddedServicesError: a server can't be started; `AlreadyRunning` when one runs on this directory.
        PortInUseError: the API's port is taken.
        NotReadyError: it did not become ready in time.
    """
    if not is_embedded(settings):
        settings.data_directory.mkdir(parents=True, exist_ok=True)
        async with _our_processes(settings) as system:
            yield system
        return
    embedded = EmbeddedServices(settings.data_directory, run_as=settings.run_as)
    try:
        urls = await embedded.start()
        async with _our_processes(await with_embedded_servers(settings, urls)) as system:
            yield system
    finally:
        await embedded.stop()


@asynccontextmanager
async def _our_processes(settings: Settings) -> AsyncIterator[RunningSystem]:
    # Only now: a second `up` on a directory is told that, and not that its own first one has the port.
    _require_free_port(settings.api_host, settings.api_port)
    embedder(settings)  # a missing model is said here, not in the log of a process that keeps dying
    await migrate(settings)
    if settings.api_port == 0:
        settings = settings.model_copy(update={"api_port": _free_port(settings.api_host)})
    log_folder = settings.data_directory / "logs"
    log_folder.mkdir(mode=0o700, exist_ok=True)
    environment = _environment(settings)
    processes = {
        name: ChildProcess(name, arguments, environment, log_folder.absolute() / f"{name}.log")
        for name, arguments in _arguments(settings).items()
    }
    url_file = settings.data_directory / URL_FILE
    tasks = [asyncio.create_task(process.run(), name=name) for name, process in processes.items()]
    try:
        url = f"http://{settings.api_host}:{settings.api_port}"
        await _wait_until_ready(url, processes, log_folder)
        url_file.write_text(url, encoding="utf-8")
        yield RunningSystem(settings, url, log_folder, processes)
    finally:
        url_file.unlink(missing_ok=True)
        await asyncio.gather(*(end(task) for task in tasks))


def _arguments(settings: Settings) -> Mapping[str, tuple[str, ...]]:
    projections = range(1, settings.projection_workers + 1)
    documents = range(1, settings.document_workers + 1)
    return (
        {"api": ("api",)}
        | {f"projections-{number}": ("worker", "projections") for number in projections}
        | {f"documents-{number}": ("worker", "documents") for number in documents}
    )


def _environment(settings: Settings) -> dict[str, str]:
    """Return what the processes get: the whole settings, so that they read neither file nor folder."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("VARVE_")}
    values = settings.model_dump(mode="json", exclude_none=True)
    for name, value in settings:
        if isinstance(value, SecretStr):
            values[name] = value.get_secret_value()
    for name in ("data_directory", "blob_directory", "model_directory"):
        if getattr(settings, name) is not None:
            values[name] = getattr(settings, name).absolute()
    return inherited | {f"VARVE_{name.upper()}": str(value) for name, value in values.items()}


async def _wait_until_ready(url: str, processes: Mapping[str, ChildProcess], log_folder: Path) -> None:
    deadline = asyncio.get_running_loop().time() + _READY_SECONDS
    async with httpx.AsyncClient(trust_env=False, timeout=5.0) as client:
        while asyncio.get_running_loop().time() < deadline:
            with suppress(httpx.HTTPError):
                answer = await client.get(f"{url}/health/ready")
                if answer.is_success and all(process.is_ready for process in processes.values()):
                    return
            await asyncio.sleep(0.05)
    raise NotReadyError(f"Varve was not ready after {_READY_SECONDS:g} s; its processes' logs are in {log_folder}")


def _require_free_port(host: str, port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise PortInUseError(host, port) from error


def _free_port(host: str) -> int:
    with socket.socket() as probe:
        probe.bind((host, 0))
        port: int = probe.getsockname()[1]
        return port


async def until_signal() -> None:
    """Return at the first SIGINT or SIGTERM."""
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, ended.set)
    await ended.wait()
