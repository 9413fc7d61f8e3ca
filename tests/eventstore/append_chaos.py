"""Many processes append while connections, processes and PostgreSQL itself are stopped and killed.

`python -P -m tests.eventstore.append_chaos --seconds 300 --seed 1` runs it for five minutes on a PostgreSQL of its own,
with fsync, and prints the result. The seed decides which fault comes when; what the appenders do meanwhile is theirs.
"""

import argparse
import asyncio
import json
import multiprocessing
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import psycopg
import structlog
from pydantic import SecretStr

from eventstore.background import run_beside
from tests.chaos.choices import choices_of
from tests.eventstore import chaos_appender
from tests.eventstore.chaos_log import Attempt, Reader, attempts_of, problems_of
from varve.embedded import DataDirectory, EmbeddedServices, PostgresTuning, create_database_if_absent
from varve.migrate import migrate
from varve.settings import Settings

PROCESSES = 8
_READERS = 3
_SECRET_KEY = SecretStr("a secret key that only this run knows, long enough")
_PAUSE_SECONDS = (0.1, 0.7)
_STOPPED_SECONDS = (0.1, 2.5)
_CALM_SECONDS = 1.0
_END_SECONDS = 60.0
_LOOK_SECONDS = 0.05
_WEIGHTS = {"terminate": 8, "cancel": 8, "stop": 6, "kill": 5, "kill_a_child": 1, "kill_the_postmaster": 1}
_SESSIONS = "select pid from pg_stat_activity where usename = 'varve_writer'"

Result = dict[str, Any]


def main() -> int:
    """Run, print the result, and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -P -m tests.eventstore.append_chaos", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60, help="how long faults are done")
    parser.add_argument("--seed", type=int, required=True, help="what decides the faults")
    given = parser.parse_args()
    structlog.configure(logger_factory=structlog.ReturnLoggerFactory())
    result = asyncio.run(run(given.seconds, given.seed))
    sys.stdout.write(f"{json.dumps(result, indent=2)}\n")
    return 1 if any(result["problems"].values()) else 0


async def run(seconds: float, seed: int) -> Result:
    """Append under faults; the result has the `problems` that were found."""
    async with AsyncExitStack() as stack:
        folder = stack.enter_context(_folder())
        ledgers = folder / "ledgers"
        settings, services = await stack.enter_async_context(_running_database(folder))
        readers = [Reader(settings.role_url("varve_projector")) for _ in range(_READERS)]
        run_beside(stack, *(reader.run() for reader in readers))
        appenders = _Appenders(settings.role_url("varve_writer"), seed, ledgers, seconds + 2 * _END_SECONDS)
        stack.callback(appenders.kill_all)
        faults = _Faults(settings.required_database_url(), services, appenders, choices_of(seed, "faults"))
        appenders.start()
        await faults.run(seconds)
        await asyncio.sleep(_CALM_SECONDS)
        await appenders.end()
        return await _result(settings, attempts_of(ledgers), readers, faults)


async def _result(settings: Settings, attempts: dict[str, Attempt], readers: list[Reader], faults: "_Faults") -> Result:
    async with await psycopg.AsyncConnection.connect(settings.required_database_url(), autocommit=True) as connection:
        # What is under way may still be stored.
        while await (await connection.execute(_SESSIONS)).fetchone():  # noqa: ASYNC110 - a server is watched
            await asyncio.sleep(_LOOK_SECONDS)
        [(head,)] = await (await connection.execute("select varve.head()")).fetchall()
    async with asyncio.timeout(_END_SECONDS):
        while any(not reader.seen or reader.seen[-1][0] < head for reader in readers):  # noqa: ASYNC110 - they poll
            await asyncio.sleep(_LOOK_SECONDS)
    with psycopg.connect(settings.required_database_url(), autocommit=True) as connection:
        problems = problems_of(connection, attempts, readers)
    return {
        "events": head,
        "attempts": dict(Counter(attempt.told or "killed before it was told" for attempt in attempts.values())),
        "refusals": dict(Counter(attempt.error for attempt in attempts.values() if attempt.error)),
        "faults": dict(faults.done),
        "readers_reconnected": sum(reader.reconnections for reader in readers),
        "problems": problems,
    }


@contextmanager
def _folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="varve-append-chaos-") as temporary:
        Path(temporary).chmod(0o711)  # as root the server runs as another user, who has to come through
        Path(temporary, "ledgers").mkdir()
        yield Path(temporary)


@asynccontextmanager
async def _running_database(folder: Path) -> AsyncIterator[tuple[Settings, EmbeddedServices]]:
    directory = DataDirectory.prepare(folder / "project" / ".varve", system_folder=folder / "system")
    services = EmbeddedServices(directory, tuning=PostgresTuning(shared_buffers="64MB"))
    urls = await services.start()
    try:
        settings = Settings(
            data_directory=directory.path,
            database_url=SecretStr(await create_database_if_absent(urls.admin_database_url)),
            redis_url=SecretStr(urls.redis_url),
            secret_key=_SECRET_KEY,
            embedder="hashing",
        )
        await migrate(settings)
        yield settings, services
    finally:
        await services.stop()


@dataclass
class _Appenders:
    """The appending processes; one that is killed is replaced."""

    url: str
    seed: int
    ledgers: Path
    most_seconds: float
    running: list[BaseProcess] = field(default_factory=list)
    started: int = 0

    def start(self) -> None:
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload([chaos_appender.__name__])
        while len(self.running) < PROCESSES:
            self.started += 1
            name = f"appender {self.started}"
            process = context.Process(
                target=chaos_appender.append_until_told,
                args=(self.url, name, self.seed, self.ledgers / name, self.most_seconds),
                daemon=True,
            )
            process.start()
            self.running.append(process)

    def replace(self, process: BaseProcess) -> None:
        process.kill()
        process.join()
        self.running.remove(process)
        self.start()

    async def end(self) -> None:
        """Ask all to end, and wait until they have."""
        for process in self.running:
            process.terminate()
        for process in self.running:
            await asyncio.to_thread(process.join, _END_SECONDS)
        unready = -signal.SIGTERM  # a replacement that had not got as far as to listen
        if ends := [process.exitcode for process in self.running if process.exitcode not in {0, unready}]:
            raise AssertionError(f"appenders ended with {ends}")

    def kill_all(self) -> None:
        for process in self.running:
            process.kill()


@dataclass
class _Faults:
    """Does one fault after the other: each kind once, then by chance."""

    url: str
    services: EmbeddedServices
    appenders: _Appenders
    choice: random.Random
    done: Counter[str] = field(default_factory=Counter)

    async def run(self, seconds: float) -> None:
        kinds: dict[str, Callable[[], Awaitable[None]]] = {
            "terminate": lambda: self._signal_session("pg_terminate_backend"),
            "cancel": lambda: self._signal_session("pg_cancel_backend"),
            "stop": self._stop_appender,
            "kill": self._kill_appender,
            "kill_a_child": self._kill_child,
            "kill_the_postmaster": self._kill_postmaster,
        }
        first = self.choice.sample(list(kinds), len(kinds))
        end = time.monotonic() + seconds
        while first or time.monotonic() < end:
            await asyncio.sleep(self.choice.uniform(*_PAUSE_SECONDS))
            kind = first.pop() if first else self.choice.choices(list(_WEIGHTS), list(_WEIGHTS.values()))[0]
            # What is to be hit may just have died of another fault.
            with suppress(psycopg.OperationalError, ProcessLookupError, FileNotFoundError):
                await kinds[kind]()
                self.done[kind] += 1

    async def _signal_session(self, function: str) -> None:
        async with await psycopg.AsyncConnection.connect(self.url, autocommit=True) as connection:
            await connection.execute(f"select {function}(pid) from ({_SESSIONS} order by random() limit 1) s".encode())

    async def _stop_appender(self) -> None:
        process = self.choice.choice(self.appenders.running)
        os.kill(process.pid or 0, signal.SIGSTOP)
        try:
            await asyncio.sleep(self.choice.uniform(*_STOPPED_SECONDS))
        finally:
            os.kill(process.pid or 0, signal.SIGCONT)

    async def _kill_appender(self) -> None:
        self.appenders.replace(self.choice.choice(self.appenders.running))

    async def _kill_child(self) -> None:
        """Kill any process of the server: all others then end and it recovers from its log."""
        os.kill(self.choice.choice(self._server_processes()), signal.SIGKILL)

    async def _kill_postmaster(self) -> None:
        children = self._server_processes()
        if (postmaster := self.services.postgres_pid) is not None:
            for pid in (postmaster, *children):
                os.kill(pid, signal.SIGKILL)

    def _server_processes(self) -> list[int]:
        """The children of the postmaster."""
        postmaster = self.services.postgres_pid
        children = Path(f"/proc/{postmaster}/task/{postmaster}/children").read_text().split()
        if not children:
            raise ProcessLookupError
        return list(map(int, children))


if __name__ == "__main__":
    sys.exit(main())
