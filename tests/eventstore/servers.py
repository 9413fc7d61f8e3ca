"""PostgreSQL servers that a test may copy, replicate, kill and promote."""

import asyncio
import shutil
import signal
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import psycopg

from varve.embedded import DataDirectory, PostgresTuning, child
from varve.embedded.binaries import find_postgres
from varve.embedded.child import Command
from varve.embedded.database import create_database_if_absent
from varve.embedded.passwords import read_password, write_private
from varve.embedded.postgres import Postgres

_RECEIVER = "select from pg_stat_wal_receiver"
_START_SECONDS = 20.0
_STOP = ((signal.SIGINT, 10.0), (signal.SIGQUIT, 5.0), (signal.SIGKILL, 5.0))
_KILL = ((signal.SIGKILL, 5.0),)


class PostgresServer:
    """A server on a data directory of its own; nobody starts it again when it ends."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        folder.chmod(0o711)  # as root the servers run as another user, who has to come through
        self.directory = DataDirectory.prepare(folder / ".varve", system_folder=folder.parent / "system")
        self.programs = find_postgres(self.directory)
        self.socket_folder = self.directory.socket_folder()
        self._postgres = Postgres(
            self.directory,
            self.programs,
            socket_folder=self.socket_folder,
            tuning=PostgresTuning.for_throwaway_data(),
        )
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """The superuser's URL in the database `varve`."""
        return self._postgres.url().replace("/postgres?", "/varve?")

    async def make(self) -> None:
        """Make the data, start, and make the database `varve`."""
        await self._postgres.prepare()
        await self.start()
        await create_database_if_absent(self._postgres.url())

    async def make_replica_of(self, primary: "PostgresServer") -> None:
        """Copy the data of `primary` while it runs, and follow it."""
        password = read_password(primary.directory.password_file("postgres"))
        write_private(self.directory.password_file("postgres"), password)
        self.directory.make_server_folder(self.directory.path / "base")
        data = self.directory.path / "base" / "data"
        await self._run(
            "pg_basebackup", "-d", primary._postgres.url(), "-D", str(data), "-R", "-X", "stream", "-c", "fast", "-N"
        )
        data.rename(self.directory.postgres)
        await self.start()

    async def start(self) -> None:
        self._postgres.remove_stale_files()
        self._process = child.start(self._postgres.command())
        async with asyncio.timeout(_START_SECONDS):
            while not await self._postgres.answers():
                assert self._process.poll() is None, child.log_tail(self._postgres.log_file)
                await asyncio.sleep(0.03)

    async def stop(self) -> None:
        if self._process is not None:
            await child.stop(self._process, _STOP)

    async def kill(self) -> None:
        """End it as a power cut does."""
        if self._process is not None:
            await child.stop(self._process, _KILL)

    async def stop_following(self) -> None:
        """Let a replica fall behind for good."""
        async with await psycopg.AsyncConnection.connect(self.url, autocommit=True) as connection:
            await connection.execute("alter system set primary_conninfo = ''")
            await connection.execute("select pg_reload_conf()")
            async with asyncio.timeout(_START_SECONDS):
                while (await connection.execute(_RECEIVER)).rowcount:  # noqa: ASYNC110 - a server is watched
                    await asyncio.sleep(0.02)

    async def promote(self) -> None:
        async with await psycopg.AsyncConnection.connect(self.url, autocommit=True) as connection:
            assert await (await connection.execute("select pg_promote()")).fetchone() == (True,)

    def copy_data(self, target: Path) -> None:
        """Copy the data directory of a stopped server."""
        shutil.copytree(self.directory.postgres, target, symlinks=True)

    def put_back(self, copy: Path) -> None:
        """Put a copy of the data directory in the place of the stopped server's own."""
        shutil.rmtree(self.directory.postgres)
        shutil.copytree(copy, self.directory.postgres, symlinks=True)
        for path in (self.directory.postgres, *self.directory.postgres.rglob("*")):
            self.directory.account.give(path)

    async def _run(self, program: str, *arguments: str) -> None:
        command = Command(
            arguments=(str(self.programs.folder / program), *arguments),
            account=self.directory.account,
            log_file=self.directory.log_file(program),
            record=None,
            death_signal=signal.SIGKILL,
        )
        assert await child.run(command) == 0, child.log_tail(command.log_file)


@asynccontextmanager
async def postgres_server(folder: Path) -> AsyncIterator[PostgresServer]:
    """A server that is stopped in the end, if it runs then."""
    server = PostgresServer(folder)
    try:
        yield server
    finally:
        await server.stop()
