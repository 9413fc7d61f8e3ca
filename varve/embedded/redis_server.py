"""Redis (or Valkey): how it is started, and when it answers."""

import signal
from pathlib import Path

import redis.asyncio
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError

from varve.embedded.binaries import RedisProgram
from varve.embedded.child import Command
from varve.embedded.data_directory import DataDirectory
from varve.embedded.passwords import make_password, read_password
from varve.embedded.urls import redis_url


class RedisServer:
    """The server on one data directory.

    The wheel's Redis is 6.2.14, older than the fix of a known flaw in scripting (CVE-2024-46981 and later ones), so it
    listens on a socket in a private folder only, and wants a password.
    """

    name = "redis"
    stop_signals = ((signal.SIGTERM, 15.0), (signal.SIGKILL, 5.0))

    def __init__(self, directory: DataDirectory, program: RedisProgram, *, socket_folder: Path) -> None:
        self._directory = directory
        self._program = program
        self._socket = socket_folder / "redis.sock"
        self._data = directory.redis(program.version)
        self._password_file = directory.password_file(self.name)
        self.record = directory.process_record(self.name)
        self.log_file = directory.log_file(self.name)

    def url(self) -> str:
        """The default user's URL."""
        return redis_url(self._socket, password=read_password(self._password_file))

    def command(self) -> Command:
        """The configuration goes in by standard input: command lines can be read by everyone, this by nobody."""
        return Command(
            arguments=(str(self._program.path), "-"),
            account=self._directory.account,
            log_file=self.log_file,
            record=self.record,
            death_signal=signal.SIGTERM,
            standard_input=self._configuration().encode(),
        )

    async def prepare(self) -> None:
        """Make the folder and the password where there are none."""
        make_password(self._password_file)
        self._directory.make_server_folder(self._data)

    def remove_stale_files(self) -> None:
        """Remove a dead server's socket; the directory's lock is ours, so no living one has it."""
        self._socket.unlink(missing_ok=True)

    async def answers(self) -> bool:
        """Whether it serves commands: its files are loaded."""
        at_once = Retry(NoBackoff(), retries=0)  # whoever asks will ask again
        client = redis.asyncio.Redis.from_url(self.url(), socket_timeout=3, socket_connect_timeout=3, retry=at_once)
        try:
            await client.ping()
        except (RedisConnectionError, RedisTimeoutError, ResponseError):
            return False
        finally:
            await client.aclose()
        return True

    def _configuration(self) -> str:
        settings = {
            "port": "0",
            "unixsocket": _quoted(str(self._socket)),
            "unixsocketperm": "700",
            "requirepass": _quoted(read_password(self._password_file)),
            "dir": _quoted(str(self._data)),
            "appendonly": "yes",  # queues outlive a restart
            "appendfsync": "everysec",
            "save": '""',
            "daemonize": "no",
        }
        return "".join(f"{name} {value}\n" for name, value in settings.items())


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
