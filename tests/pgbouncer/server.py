"""A PgBouncer that a test may kill, on a Unix socket, with the settings of `deploy/pgbouncer.ini`."""

import io
import re
import shutil
import signal
import subprocess
import time
from configparser import ConfigParser
from pathlib import Path
from urllib.parse import parse_qs, urlsplit, urlunsplit

import psycopg
from psycopg.rows import dict_row

from varve.embedded import child
from varve.embedded.account import service_account
from varve.embedded.child import Command
from varve.embedded.urls import postgres_url

NEEDED = (1, 22)
"""The first version that keeps apart the prepared statements of clients, and lets them drop all of theirs."""
SERVER_CONNECTIONS = 2
"""So few for each role that whoever works at the same time must share them."""

_SHIPPED = Path(__file__).parents[2] / "deploy" / "pgbouncer.ini"
_PASSWORD = "known to the tests only"
_START_SECONDS = 10.0
_STOP = ((signal.SIGQUIT, 5.0), (signal.SIGKILL, 5.0))


def installed_version() -> tuple[int, ...]:
    """Return the version of the PgBouncer on this machine, (0,) when there is none."""
    program = find_program()
    if program is None:
        return (0,)
    said = subprocess.run([program, "--version"], capture_output=True, text=True, check=True).stdout
    version = re.search(r"PgBouncer (\d+)\.(\d+)", said)
    return tuple(map(int, version.groups())) if version else (0,)


def find_program() -> str | None:
    # An ordinary user's search path often leaves out where Debian installs servers.
    return shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/local/sbin:/usr/sbin")


class PgBouncer:
    """The pooler of one database; nobody starts it again when it ends.

    Args:
        folder: empty, with a short path.
        prepared_statements: how many it keeps for each server connection; none when 0.
    """

    def __init__(self, folder: Path, *, prepared_statements: int) -> None:
        self.prepared_statements = prepared_statements
        self._folder = folder
        self._account = service_account("varve")  # it refuses to run as root
        self._account.give(folder)
        self._database = ""
        self._process: subprocess.Popen[bytes] | None = None

    def pool(self, database_url: str) -> None:
        """Stand in front of a database, and return when it answers.

        Args:
            database_url: the superuser's, on a Unix socket.
        """
        url = urlsplit(database_url)
        self._database = url.path.removeprefix("/")
        with psycopg.connect(database_url, autocommit=True) as admin:
            admin.execute(_SHIPPED.with_suffix(".sql").read_bytes())
            admin.execute(f"alter role pgbouncer password '{_PASSWORD}'")
        configuration = ConfigParser(interpolation=None, comment_prefixes=(";",))
        configuration.read(_SHIPPED)
        socket_folder = parse_qs(url.query)["host"][0]
        configuration["databases"] = {self._database: f"host={socket_folder} port=5432 dbname={self._database}"}
        configuration["pgbouncer"].update(
            {
                "listen_addr": "",
                "unix_socket_dir": str(self._folder),
                "logfile": str(self._folder / "pgbouncer.log"),
                "auth_file": str(self._folder / "userlist.txt"),
                "default_pool_size": str(SERVER_CONNECTIONS),
                "max_prepared_statements": str(self.prepared_statements),
            }
        )
        text = io.StringIO()
        configuration.write(text)
        self._write("pgbouncer.ini", text.getvalue())
        self._write("userlist.txt", f'"pgbouncer" "{_PASSWORD}"\n')
        self.start()

    def url(self, user: str = "nobody", password: str = "") -> str:
        """Return its URL for the database; settings need none who could log in."""
        return postgres_url(self._folder, user=user, password=password, database=self._database) + "&port=6432"

    def start(self) -> None:
        """Start it, and return when it answers."""
        program = find_program()
        assert program is not None
        self._process = child.start(
            Command(
                arguments=(program, "--quiet", str(self._folder / "pgbouncer.ini")),
                account=self._account,
                log_file=self._folder / "output.log",
                record=None,
                death_signal=signal.SIGKILL,
            )
        )
        deadline = time.monotonic() + _START_SECONDS
        while not self._answers():
            assert self._process.poll() is None, self.log()
            assert time.monotonic() < deadline, self.log()
            time.sleep(0.01)

    def kill(self) -> None:
        """End it as a crash does."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait()

    async def stop(self) -> None:
        if self._process is not None:
            await child.stop(self._process, _STOP)

    def transactions(self) -> int:
        """Return how many transactions went through so far."""
        console = urlunsplit(urlsplit(self.url("pgbouncer", _PASSWORD))._replace(path="/pgbouncer"))
        with psycopg.connect(console, autocommit=True, cursor_factory=psycopg.ClientCursor) as connection:
            rows = connection.cursor(row_factory=dict_row).execute("show stats").fetchall()
        return sum(row["total_xact_count"] for row in rows)

    def log(self) -> str:
        return "\n".join(child.log_tail(path) for path in sorted(self._folder.glob("*.log")))

    def _answers(self) -> bool:
        try:
            with psycopg.connect(self.url("pgbouncer", _PASSWORD)):
                return True
        except psycopg.OperationalError:
            return False

    def _write(self, name: str, text: str) -> None:
        path = self._folder / name
        path.touch(mode=0o600)
        path.write_text(text)
        self._account.give(path)
