"""Runs a lane's orders in processes forked from a clean one: what hangs or dies there ends nothing else."""

import asyncio
import contextlib
import multiprocessing
import os
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from multiprocessing import forkserver
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import orjson
import psycopg
import structlog
from psycopg_pool import AsyncConnectionPool

from projections.isolation import Death, Ending, Order, Result, Stage
from workers.process_limits import OUT_OF_MEMORY

log = structlog.get_logger()

_WARM_UP_SECONDS = 3.0
_START_SECONDS = 20.0
_END_SECONDS = 5.0
_AT_ONCE = 2
"""Each child may use as much memory as the whole of its limit."""
_PRELOADED = "varve.lane_child"
_NANOSECONDS = 1e9
_READ = 65_536
_IS_AT_WORK = """
select exists (select from pg_stat_activity
               where usename = current_user and application_name = %s and state = 'active'),
       extract(epoch from clock_timestamp() - pg_postmaster_start_time())::float8
"""
_RECONNECT_SECONDS = 5.0
"""After the server has started, a child's sessions may take so long to be there again."""
_LONGEST_WAIT = 8
"""How many times as long a stage may take on a busy machine, on which its process stands in line for a processor."""
_USER_TICKS = 10
"""Where the processor time stands in what `_stat_of` returns after the state: in user mode, then in the kernel."""
_NOT_ITS_FAULT = frozenset("DTt")
"""States of a process that waits for a disk, or was stopped: see proc(5)."""

Target = Callable[[Order, str, int], None]
"""Runs an order under a name that PostgreSQL shows of its sessions; writes what it does to a file descriptor."""


class StageWriter:
    """Tells the worker what its child does: a line for each stage, and one for the end."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def note(self, stage: Stage) -> None:
        self._write({"seconds": stage.seconds, "retried": stage.retried})

    def end(self, kind: Result) -> None:
        self._write({"ended": kind})

    def _write(self, line: dict[str, Any]) -> None:
        try:
            os.write(self._descriptor, orjson.dumps(line) + b"\n")  # shorter than a pipe writes at once
        except BrokenPipeError:  # the worker is gone: what goes on here would look like the fault of an event
            os._exit(1)


class ForkedLaneChildren:
    """Runs a few orders at once; each has a process of its own, which ends with it."""

    def __init__(self, target: Target, owner: str, pool: AsyncConnectionPool[Any]) -> None:
        """Take what children do, the worker's name, and a pool to ask whether PostgreSQL is at work for a child.

        Args:
            target: a function that another process can import; it is called with the order, a name, and a descriptor.
            owner: of the leases.
            pool: of the projector.
        """
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload([_PRELOADED])
        self._target = target
        self._pool = pool
        self._names = [f"{owner}!{number}" for number in range(1, _AT_ONCE + 1)]
        self._free = asyncio.Semaphore(_AT_ONCE)
        self._starting = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="lane child")

    async def warm_up(self) -> None:
        """Start the clean process that children are forked from, once the worker is at work: takeovers wait for it."""
        await asyncio.sleep(_WARM_UP_SECONDS)
        await asyncio.get_running_loop().run_in_executor(self._starting, forkserver.ensure_running)

    async def run(self, order: Order) -> Ending:
        """Run `order` in a child, and end the child when it makes no progress in time."""
        async with self._free:
            name = self._names.pop()
            try:
                return await self._run(order, name)
            finally:
                self._names.append(name)

    async def _run(self, order: Order, name: str) -> Ending:
        reader, writer = multiprocessing.Pipe(duplex=False)
        process = self._context.Process(target=_in_child, args=(self._target, order, name, writer), daemon=True)
        with reader, writer:
            # On a thread: the first time, the clean process starts. Of our own: others may be stuck in a fold.
            await asyncio.get_running_loop().run_in_executor(self._starting, process.start)
            writer.close()
            child = _Child(process, reader.fileno())
            try:
                return await child.outcome(lambda seconds: self._is_at_work(name, seconds))
            finally:
                await child.close()

    async def _is_at_work(self, name: str, seconds: float) -> bool:
        """Whether the server is at work for a child that has said nothing for so many seconds.

        Raises:
            OperationalError: it is away, or was within that time.
        """
        async with self._pool.connection() as connection:
            is_at_work, up_seconds = await (await connection.execute(_IS_AT_WORK, (name,))).fetchone() or (False, 0.0)
        if up_seconds < seconds + _RECONNECT_SECONDS:
            raise psycopg.OperationalError("the server has been started meanwhile")
        return bool(is_at_work)


class _Child:
    """One child, and what it last said."""

    def __init__(self, process: BaseProcess, descriptor: int) -> None:
        self._process = process
        self._descriptor = descriptor
        self._said = b""
        self._has_said = asyncio.Event()
        self._stage = Stage(_START_SECONDS)
        self._has_begun = False
        self._ended: Result | None = None
        self._is_closed = False
        self._helpers_ticks = 0
        self._note_time()
        os.set_blocking(descriptor, False)
        asyncio.get_running_loop().add_reader(descriptor, self._read)

    async def outcome(self, is_at_work: Callable[[float], Awaitable[bool]]) -> Ending:
        """Return how it ends; a stage that takes too long ends it, unless PostgreSQL is at work for it, or was away."""
        while not self._is_closed and self._ended is None:
            self._has_said.clear()
            left = self._stage.seconds - self._used_seconds()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(max(left, 0.05)):
                    await self._has_said.wait()
                continue
            if self._used_seconds() < self._stage.seconds or self._state() in _NOT_ITS_FAULT:
                continue
            if self._have_helpers_worked():
                self._note_time()
                continue
            try:
                if await is_at_work(time.monotonic() - self._since):
                    self._note_time()
                    continue
            except psycopg.Error:
                return Ending("away")
            return self._death("hung")
        if self._ended is not None:
            return Ending(self._ended)
        await self._wait()
        return self._death("memory" if self._process.exitcode == OUT_OF_MEMORY else "killed")

    async def close(self) -> None:
        """End the process, if it has not ended."""
        asyncio.get_running_loop().remove_reader(self._descriptor)
        if self._process.exitcode is None:
            self._process.kill()
        await self._wait()
        self._process.close()

    def _death(self, death: Death) -> Ending:
        """Return that it died; before it had begun no event can be blamed."""
        return Ending(death, self._stage.retried) if self._has_begun else Ending("away")

    async def _wait(self) -> None:
        deadline = time.monotonic() + _END_SECONDS
        while self._process.exitcode is None and time.monotonic() < deadline:  # noqa: ASYNC110 - no event tells it
            await asyncio.sleep(0.005)
        if self._process.exitcode is None:
            self._process.kill()
            self._process.join(_END_SECONDS)

    def _read(self) -> None:
        said = os.read(self._descriptor, _READ)
        self._is_closed = not said
        *lines, self._said = (self._said + said).split(b"\n")
        for line in map(orjson.loads, lines):
            if "ended" in line:
                self._ended = line["ended"]
            else:
                partition_and_position = line["retried"]
                self._stage = Stage(line["seconds"], partition_and_position and tuple(partition_and_position))
                self._has_begun = True
        if lines:
            self._note_time()
        if self._is_closed:
            asyncio.get_running_loop().remove_reader(self._descriptor)
        self._has_said.set()

    def _note_time(self) -> None:
        self._since, self._waited_before = time.monotonic(), self._waited()

    def _used_seconds(self) -> float:
        """Return for how long the stage has gone on, without most of the time that it stood in line for a processor."""
        elapsed = time.monotonic() - self._since
        return max(elapsed - (self._waited() - self._waited_before), elapsed / _LONGEST_WAIT)

    def _waited(self) -> float:
        try:
            return int(Path(f"/proc/{self._process.pid}/schedstat").read_bytes().split()[1]) / _NANOSECONDS
        except (OSError, IndexError):
            return 0.0

    def _have_helpers_worked(self) -> bool:
        """Whether processes of its own have used a processor since this was last asked: texts are cut in one.

        How long they may is limited where they are made.
        """
        before, self._helpers_ticks = self._helpers_ticks, 0
        with contextlib.suppress(OSError):
            helpers = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children").read_text(encoding="ascii")
            for helper in helpers.split():
                _, *fields = _stat_of(int(helper))
                self._helpers_ticks += sum(map(int, fields[_USER_TICKS : _USER_TICKS + 2]))
        return self._helpers_ticks > before

    def _state(self) -> str:
        return _stat_of(self._process.pid or 0)[0]


def _let_the_server_end() -> None:
    """Close what a child is given of the pipe by which its server sees that the worker has ended.

    As long as a child that hangs holds it, the server would go on, and the child with it: they end together.
    """
    server = vars(forkserver._forkserver)  # noqa: SLF001 - the one way to it
    if server["_forkserver_alive_fd"] is not None:
        os.close(server["_forkserver_alive_fd"])
        server["_forkserver_alive_fd"] = None


def _stat_of(pid: int) -> list[str]:
    """Return what proc(5) says of a process from its state on; empty strings when it has ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    except OSError:
        return [""]


def _in_child(target: Target, order: Order, name: str, writer: Any) -> None:
    """Run `target`, and end without waiting for threads that never end."""
    _let_the_server_end()
    try:
        target(order, name, writer.fileno())
    except MemoryError:
        os._exit(OUT_OF_MEMORY)
    os._exit(0)
