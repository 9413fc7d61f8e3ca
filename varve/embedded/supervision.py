"""Keep one server running: start it, wait until it answers, start it again when it dies, stop it when told."""

import asyncio
import subprocess
import time
from pathlib import Path
from typing import Protocol

import structlog

from varve.embedded import child
from varve.embedded.child import Command
from varve.embedded.errors import EmbeddedServicesError, ServerDidNotStart
from varve.embedded.process_record import StopSignals, read_record, stop_recorded

log = structlog.get_logger(__name__)

_FIRST_PAUSE = 0.1  # seconds before a dead server is started again; doubled each time, up to the longest
_LONGEST_PAUSE = 10.0
_STEADY = 60.0  # seconds after which a server counts as healthy and the pause starts from the first again
_FIRST_ATTEMPTS = 4  # within about 1.5 s


class Server(Protocol):
    """What the supervisor has to know of a server."""

    @property
    def name(self) -> str:
        """Its name in logs and errors."""

    @property
    def record(self) -> Path:
        """Where its process id is kept."""

    @property
    def log_file(self) -> Path:
        """What it says."""

    @property
    def stop_signals(self) -> StopSignals:
        """How it is stopped."""

    def command(self) -> Command:
        """How it is started."""

    async def prepare(self) -> None:
        """Make its data where there is none."""

    def remove_stale_files(self) -> None:
        """Clear what a killed predecessor left and would keep it from starting."""

    async def answers(self) -> bool:
        """Whether it serves requests."""


class Supervisor:
    """One server and the task that watches it.

    Its methods are to be called on one event loop, whose thread must live as long as the server should.
    """

    def __init__(self, server: Server, *, start_timeout: float) -> None:
        self._server = server
        self._start_timeout = start_timeout
        self._child: subprocess.Popen[bytes] | None = None
        self._watch: asyncio.Task[None] | None = None

    @property
    def pid(self) -> int | None:
        """The server's process id; another one after each restart, None when it isn't running."""
        return None if self._child is None or self._child.poll() is not None else self._child.pid

    async def start(self) -> None:
        """Start the server and return when it answers.

        Raises:
            ServerDidNotStart: It ended or did not answer in time.
            DataDirectoryInUse: Somebody else's server runs on the data.
        """
        await self._stop_predecessor()
        child.rotate_log(self._server.log_file)
        await self._server.prepare()
        await self._first_start()
        self._watch = asyncio.create_task(self._keep_running(), name=f"supervise {self._server.name}")

    async def stop(self) -> None:
        """Stop the server; harmless when it doesn't run."""
        if self._watch is not None:
            self._watch.cancel()
            await asyncio.gather(self._watch, return_exceptions=True)
            self._watch = None
        await self._stop_child()

    async def _first_start(self) -> None:
        for attempt in range(1, _FIRST_ATTEMPTS + 1):
            try:
                return await self._start_once()
            except ServerDidNotStart:
                # Orphans of a killed PostgreSQL need a moment to notice and to let go of its shared memory.
                if attempt == _FIRST_ATTEMPTS:
                    raise
                await asyncio.sleep(_FIRST_PAUSE * 2**attempt)
        return None

    async def _start_once(self) -> None:
        self._server.remove_stale_files()
        started = time.monotonic()
        self._child = child.start(self._server.command())
        try:
            await self._until_it_answers(self._child)
        except BaseException:
            await self._stop_child()
            raise
        log.info(
            "embedded.started",
            server=self._server.name,
            process_id=self._child.pid,
            seconds=round(time.monotonic() - started, 3),
        )

    async def _until_it_answers(self, process: subprocess.Popen[bytes]) -> None:
        try:
            async with asyncio.timeout(self._start_timeout):
                while not await self._server.answers():
                    if (returncode := process.poll()) is not None:
                        raise self._did_not_start(f"it ended with {returncode}")
                    await asyncio.sleep(0.03)
        except TimeoutError:
            raise self._did_not_start(f"no answer within {self._start_timeout:g} s") from None

    def _did_not_start(self, reason: str) -> ServerDidNotStart:
        log_file = self._server.log_file
        return ServerDidNotStart(self._server.name, reason, log_file, child.log_tail(log_file))

    async def _keep_running(self) -> None:
        pause = _FIRST_PAUSE
        while self._child is not None:
            started = time.monotonic()
            returncode = await child.wait(self._child)
            pause = _FIRST_PAUSE if time.monotonic() - started > _STEADY else min(2 * pause, _LONGEST_PAUSE)
            log.error("embedded.died", server=self._server.name, returncode=returncode, starts_again_in_seconds=pause)
            await asyncio.sleep(pause)
            try:
                await self._start_once()
            except (EmbeddedServicesError, OSError) as error:
                log.exception("embedded.restart_failed", server=self._server.name, error=str(error))

    async def _stop_child(self) -> None:
        if self._child is not None:
            await child.stop(self._child, self._server.stop_signals)
        if self.pid is None:
            self._server.record.unlink(missing_ok=True)

    async def _stop_predecessor(self) -> None:
        record = read_record(self._server.record)
        if record is not None and record.is_alive():
            log.warning("embedded.orphan_stopped", server=self._server.name, process_id=record.pid)
            await stop_recorded(record, self._server.stop_signals)
