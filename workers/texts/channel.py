"""One process that works on texts, as its worker sees it: jobs go in, in batches, and each one's answer comes out."""

import asyncio
import os
import signal
import socket
import sys
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field

import orjson
import structlog

from eventstore.background import end
from workers.texts.errors import ProcessEnded, TextFailed, TextProcessUnavailable, TextTooLarge
from workers.texts.limits import START_SECONDS, clock_seconds
from workers.texts.process import MEMORY
from workers.texts.wire import END, FAILED, HEADER, LAST, MOST_OF_A_FRAME, PART, READY, Config, frame

log = structlog.get_logger()

PROGRAM = ("-m", "workers.texts.process")
_BATCH_JOBS = 64
_BATCH_OCTETS = 200_000
_KEPT_PIECES = 4
_READ_AHEAD = 1_000_000
_END_SECONDS = 2.0


@dataclass(eq=False)
class Job:
    """One text, or some, and a step.

    Attributes:
        kind: the step's name.
        parts: makes what it takes, some hundred kilobytes each.
        octets: how many bytes the text has; they decide how long it may take.
        is_alone: whether no other job is to be with the process meanwhile, and, later, whether none was.
    """

    kind: str
    parts: Callable[[], Iterable[bytes]]
    octets: int
    is_alone: bool = False
    is_dropped: bool = False
    is_done: bool = False
    _pieces: asyncio.Queue[bytes | Exception | None] = field(default_factory=lambda: asyncio.Queue(_KEPT_PIECES))

    async def put(self, piece: bytes | Exception | None) -> None:
        """Give the caller a piece of the answer, what went wrong, or None at its end."""
        if not self.is_dropped:
            await self._pieces.put(piece)

    async def pieces(self) -> AsyncIterator[bytes]:
        """Yield the answer.

        Raises:
            ProcessEnded: before it was whole.
            TextFailed, TextProcessUnavailable: there is none.
        """
        try:
            while (piece := await self._pieces.get()) is not None:
                if isinstance(piece, Exception):
                    raise piece
                yield piece
        finally:
            self.is_dropped = True
            self._empty()

    def fail_now(self, error: Exception) -> None:
        """Give the caller nothing but `error`, without waiting for it."""
        self._empty()
        self._pieces.put_nowait(error)

    def _empty(self) -> None:
        while not self._pieces.empty():  # whoever puts waits no more
            self._pieces.get_nowait()


class Channel:
    """Starts the process when there is a job, again when it has ended, and ends it when there was none for a while."""

    def __init__(
        self, config: Callable[[], Config], *, idle_seconds: float, program: tuple[str, ...] = PROGRAM
    ) -> None:
        """Take how the process is started.

        Args:
            config: makes what it is told.
            idle_seconds: after so long without a job it is ended.
            program: the interpreter's arguments; tests give one that misbehaves.
        """
        self._config = config
        self._idle_seconds = idle_seconds
        self._program = program
        self._waiting: deque[Job] = deque()
        self._has_some = asyncio.Event()
        self._driver: asyncio.Task[None] | None = None
        self._process: _Process | None = None
        self._is_closed = False

    @property
    def pid(self) -> int | None:
        """The process, while there is one."""
        return None if self._process is None else self._process.pid

    def submit(self, job: Job) -> None:
        """Have `job` done after those that wait."""
        if self._is_closed:
            raise TextProcessUnavailable("the worker ends")
        self._waiting.append(job)
        self._has_some.set()
        if self._driver is None or self._driver.done():
            self._driver = asyncio.create_task(self._drive())

    async def close(self) -> None:
        """End the process; jobs that wait fail."""
        self._is_closed = True
        if self._driver is not None:
            await end(self._driver)
        await self._end_process()

    async def _drive(self) -> None:
        batch: Sequence[Job] = ()
        try:
            while await self._has_work() or await self._has_come_late():
                batch = self._next_batch()
                try:
                    await self._do(batch)
                except (ProcessEnded, TextProcessUnavailable) as error:
                    await self._end_process()
                    for job in batch:
                        if not job.is_done:
                            await job.put(error)
                batch = ()
        except BaseException:
            for job in (*batch, *self._waiting):
                if not job.is_done:
                    job.fail_now(TextProcessUnavailable("the worker ends"))
            self._waiting.clear()
            if self._process is not None:
                self._process.kill()
            raise

    async def _has_work(self) -> bool:
        """Wait for a job; return False after too long a time without one."""
        while not self._waiting:
            self._has_some.clear()
            try:
                async with asyncio.timeout(self._idle_seconds):
                    await self._has_some.wait()
            except TimeoutError:
                return bool(self._waiting)
        return True

    async def _has_come_late(self) -> bool:
        """End the process that had no work for a while; return whether a job has come meanwhile."""
        await self._end_process()
        return bool(self._waiting)

    def _next_batch(self) -> list[Job]:
        """Return the jobs that are sent at once: the first, and what of those behind it is small."""
        batch = [self._waiting.popleft()]
        octets = batch[0].octets
        while self._waiting and len(batch) < _BATCH_JOBS and not batch[0].is_alone and not self._waiting[0].is_alone:
            octets += self._waiting[0].octets
            if octets > _BATCH_OCTETS:
                break
            batch.append(self._waiting.popleft())
        wanted = [job for job in batch if not job.is_dropped]
        if len(wanted) == 1:
            wanted[0].is_alone = True
        return wanted

    async def _do(self, batch: Sequence[Job]) -> None:
        if not batch:
            return
        if self._process is None or self._process.has_ended:
            await self._end_process()
            self._process = await _Process.start(self._program, self._config())
        process = self._process
        sending = asyncio.create_task(process.send(batch))
        try:
            for number, job in enumerate(batch):
                if process.has_ended:
                    self._waiting.extendleft(reversed(batch[number:]))
                    break
                await process.receive(number, job)
        finally:
            await end(sending)

    async def _end_process(self) -> None:
        if self._process is not None:
            process, self._process = self._process, None
            await process.end()


class _Process:
    """The running process."""

    def __init__(
        self, process: asyncio.subprocess.Process, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self._process = process
        self._reader = reader
        self._writer = writer
        self._is_leaving = False

    @classmethod
    async def start(cls, program: tuple[str, ...], config: Config) -> "_Process":
        """Start the process, and wait until it stands.

        Raises:
            TextProcessUnavailable: it does not.
        """
        ours, its = socket.socketpair()
        try:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-I",  # isolated: -P and no environment or user site
                *program,
                orjson.dumps(asdict(config)).decode(),
                stdin=its.fileno(),
                stdout=asyncio.subprocess.DEVNULL,
                stderr=asyncio.subprocess.DEVNULL,
                env={"LANG": "C.UTF-8", "TOKENIZERS_PARALLELISM": "false"},
                cwd="/",
                start_new_session=True,
            )
        except OSError as error:
            ours.close()
            raise TextProcessUnavailable(str(error)) from error
        finally:
            its.close()
        reader, writer = await asyncio.open_connection(sock=ours, limit=_READ_AHEAD)
        started = cls(process, reader, writer)
        try:
            async with asyncio.timeout(START_SECONDS):
                _, kind, _ = await started._frame()
        except (TimeoutError, ProcessEnded):
            kind = FAILED
        except BaseException:
            await started.end()
            raise
        if kind != READY:
            await started.end()
            raise TextProcessUnavailable("the process that works on texts does not start")
        log.info("texts.process_started", pid=process.pid)
        return started

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def has_ended(self) -> bool:
        return self._is_leaving or self._process.returncode is not None

    async def send(self, jobs: Iterable[Job]) -> None:
        """Send `jobs`; the process takes one when it has done those before it."""
        with suppress(ConnectionError):  # it has ended: whoever reads finds out
            for number, job in enumerate(jobs):
                for part in job.parts():
                    self._writer.write(frame(number, PART, part))
                    await self._writer.drain()
                    await asyncio.sleep(0)  # a part is made on the event loop
                self._writer.write(frame(number, END, orjson.dumps([job.kind, job.octets])))
            await self._writer.drain()

    async def receive(self, number: int, job: Job) -> None:
        """Give `job` its answer.

        Raises:
            ProcessEnded: there is no answer, or it took too long and the process was ended.
        """
        patience = clock_seconds(job.octets)
        loop = asyncio.get_running_loop()
        while True:
            began = loop.time()
            try:
                async with asyncio.timeout(patience):
                    found, kind, payload = await self._frame()
            except TimeoutError:
                log.warning("texts.took_too_long", kind=job.kind, octets=job.octets)
                raise ProcessEnded(is_too_long=True) from None
            patience -= loop.time() - began
            if found != number:
                raise ProcessEnded(is_too_long=False)
            if kind == PART:
                await job.put(payload)
                continue
            job.is_done = True
            self._is_leaving = kind == LAST or payload == MEMORY
            await job.put(_failure(payload) if kind == FAILED else None)
            return

    async def end(self) -> None:
        """End the process and all that it started."""
        self.kill()
        await asyncio.shield(self._process.wait())

    def kill(self) -> None:
        """Have it end at once."""
        self._writer.close()
        if self._process.returncode is None:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)

    async def _frame(self) -> tuple[int, int, bytes]:
        try:
            length, number, kind = HEADER.unpack(await self._reader.readexactly(HEADER.size))
            if length > MOST_OF_A_FRAME:
                raise ProcessEnded(is_too_long=False)
            return number, kind, await self._reader.readexactly(length)
        except (asyncio.IncompleteReadError, ConnectionError):
            with suppress(TimeoutError):
                async with asyncio.timeout(_END_SECONDS):
                    await self._process.wait()
            is_too_long = self._process.returncode == -signal.SIGXCPU
            log.warning("texts.process_ended", returncode=self._process.returncode)
            raise ProcessEnded(is_too_long=is_too_long) from None


def _failure(payload: bytes) -> TextFailed:
    return TextTooLarge() if payload == MEMORY else TextFailed(payload.decode())
