"""PostgreSQL with pgvector: how its data is made, how it is started, and when it answers."""

import shutil
import signal
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import psycopg

from varve.embedded import child
from varve.embedded.binaries import PostgresPrograms
from varve.embedded.child import Command
from varve.embedded.data_directory import DataDirectory
from varve.embedded.errors import DataDirectoryInUse, DataOfAnotherVersion, ServerDidNotStart
from varve.embedded.passwords import make_password, read_password
from varve.embedded.urls import postgres_url

_SUPERUSER = "postgres"
_ROOMY_SHARED_MEMORY = 1 << 30  # bytes


@dataclass(frozen=True)
class PostgresTuning:
    """Settings of the server. Everything that guards data stays on unless a caller turns it off by name.

    Attributes:
        shared_buffers: The server's own cache, in PostgreSQL's units.
        max_connections: The most sessions at once.
        fsync: Off only for data that nobody will miss after a power cut, such as a test's.
    """

    shared_buffers: str = "256MB"
    max_connections: int = 200
    fsync: bool = True

    @classmethod
    def for_throwaway_data(cls) -> "PostgresTuning":
        """Small, quick to start, and without fsync: for tests."""
        return cls(shared_buffers="64MB", max_connections=200, fsync=False)


class Postgres:
    """The server on one data directory."""

    name = "postgres"
    stop_signals = ((signal.SIGINT, 30.0), (signal.SIGQUIT, 10.0), (signal.SIGKILL, 5.0))  # fast, immediate, none left

    def __init__(
        self, directory: DataDirectory, programs: PostgresPrograms, *, socket_folder: Path, tuning: PostgresTuning
    ) -> None:
        self._directory = directory
        self._programs = programs
        self._socket_folder = socket_folder
        self._tuning = tuning
        self._data = directory.postgres
        self._password_file = directory.password_file(self.name)
        self.record = directory.process_record(self.name)
        self.log_file = directory.log_file(self.name)

    def url(self) -> str:
        """The superuser's URL in the database `postgres`."""
        password = read_password(self._password_file)
        return postgres_url(self._socket_folder, user=_SUPERUSER, password=password, database="postgres")

    def command(self) -> Command:
        """`postgres` itself: nothing between it and its supervisor."""
        arguments = [str(self._programs.folder / "postgres"), "-D", str(self._data)]
        for name, value in self._settings().items():
            arguments += ["-c", f"{name}={value}"]
        return self._command(*arguments, record=self.record)

    async def prepare(self) -> None:
        """Make the data where there is none, whole or not at all.

        Raises:
            DataOfAnotherVersion: There is data of another major version.
            PasswordMissing: There is data, but its password is lost.
            ServerDidNotStart: `initdb` failed.
        """
        if self._data.exists():
            self._refuse_other_version()
            read_password(self._password_file)
            return
        for abandoned in self._data.parent.glob("postgres.partial-*"):
            shutil.rmtree(abandoned, ignore_errors=True)
        partial = Path(tempfile.mkdtemp(prefix="postgres.partial-", dir=self._data.parent))
        self._directory.account.give(partial)
        await self._initialise(partial / "data")
        (partial / "data").rename(self._data)
        shutil.rmtree(partial)

    def remove_stale_files(self) -> None:
        """Remove a dead server's process file when PostgreSQL would take the process for a living server.

        Its id was given to another program, or nobody has reaped it. Otherwise the file stays: PostgreSQL itself then
        also looks for orphans in its shared memory.

        Raises:
            DataDirectoryInUse: A server that we did not start runs on the data.
        """
        process_file = self._data / "postmaster.pid"
        try:
            pid = int(process_file.read_text().split(maxsplit=1)[0])
            arguments = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        except (FileNotFoundError, ProcessLookupError, IndexError, ValueError):
            return
        if str(self._data).encode() in arguments:
            raise DataDirectoryInUse(self._data, pid)
        process_file.unlink()
        (self._socket_folder / ".s.PGSQL.5432.lock").unlink(missing_ok=True)

    async def answers(self) -> bool:
        """Whether a session can be opened."""
        try:
            async with await psycopg.AsyncConnection.connect(self.url(), connect_timeout=3) as connection:
                await connection.execute("select")
        except psycopg.OperationalError:
            return False
        return True

    async def _initialise(self, data: Path) -> None:
        password = make_password(self._password_file)
        # The password must reach `initdb` in a file that it can open as the servers' user.
        password_file = data.parent / "password"
        password_file.touch(mode=0o600)
        password_file.write_text(password)
        self._directory.account.give(password_file)
        options = ["-D", str(data), "-U", _SUPERUSER, f"--pwfile={password_file}"]
        options += ["-E", "UTF8", "--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--no-instructions"]
        options += ["--auth-local=scram-sha-256", "--auth-host=scram-sha-256"]
        options += [] if self._tuning.fsync else ["--no-sync"]
        command = self._command(str(self._programs.folder / "initdb"), *options, record=None)
        returncode = await child.run(command)
        if returncode != 0:
            tail = child.log_tail(command.log_file)
            raise ServerDidNotStart("initdb", f"it ended with {returncode}", command.log_file, tail)

    def _command(self, *arguments: str, record: Path | None) -> Command:
        return Command(
            arguments=arguments,
            account=self._directory.account,
            log_file=self.log_file,
            record=record,
            death_signal=signal.SIGINT if record else signal.SIGKILL,
        )

    def _refuse_other_version(self) -> None:
        found = (self._data / "PG_VERSION").read_text().strip()
        if found != self._programs.major_version:
            raise DataOfAnotherVersion(self._data, found, self._programs.major_version)

    def _settings(self) -> Mapping[str, str]:
        safe = "on" if self._tuning.fsync else "off"
        return {
            "listen_addresses": "",
            "port": "5432",  # only a part of the socket's name
            "unix_socket_directories": str(self._socket_folder),
            "unix_socket_permissions": "0700",
            "password_encryption": "scram-sha-256",
            "max_connections": str(self._tuning.max_connections),
            "shared_buffers": self._tuning.shared_buffers,
            "dynamic_shared_memory_type": _dynamic_shared_memory(),
            "jit": "off",  # compiling costs more than our short queries
            "fsync": safe,
            "full_page_writes": safe,
            "max_wal_size": "2GB",
            "min_wal_size": "160MB",
            "checkpoint_timeout": "15min",
            "wal_compression": "pglz",  # the wheel has no lz4
            "timezone": "UTC",
            "log_timezone": "UTC",
            "log_line_prefix": "%m [%p] %u@%d ",
            "log_checkpoints": "off",
        }


def _dynamic_shared_memory() -> str:
    """`posix`, or `mmap` in containers that give /dev/shm only 64 MB, where a parallel index build would fail."""
    try:
        return "posix" if shutil.disk_usage("/dev/shm").total >= _ROOMY_SHARED_MEMORY else "mmap"  # noqa: S108 - only its size is read
    except FileNotFoundError:
        return "mmap"
