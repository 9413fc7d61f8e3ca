"""A PostgreSQL of the benchmark's own, with fsync and ordinary tuning, in a folder that is gone afterwards."""

import itertools
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import psycopg
from pydantic import SecretStr

from varve.embedded import DataDirectory, PostgresTuning, running_services
from varve.embedded.binaries import find_postgres
from varve.migrate import migrate_now
from varve.settings import Settings

_TEMPLATE = "benchmark_template"
_SECRET_KEY = SecretStr("a secret key of a server that lives for minutes")


@dataclass(frozen=True, slots=True)
class Server:
    """A running server.

    Attributes:
        settings: by which a database is reached; the database itself is `_TEMPLATE`, which nobody connects to.
        programs: the folder with PostgreSQL's own programs.
    """

    settings: Settings
    programs: Path
    _numbers: Iterator[int] = field(default_factory=itertools.count)

    @contextmanager
    def database(self, template: str = _TEMPLATE) -> Iterator[Settings]:
        """Yield the settings of a database of its own: migrated and empty, or a copy of `template`."""
        name = f"benchmark_{next(self._numbers)}"
        with psycopg.connect(self._url("postgres"), autocommit=True) as admin:
            admin.execute(f"create database {name} template {template}")
            try:
                yield self.settings.model_copy(update={"database_url": SecretStr(self._url(name))})
            finally:
                admin.execute(f"drop database {name} with (force)")

    def commits_per_second(self, seconds: float) -> float:
        """Return how many rows one connection can commit, one at a time: what the disk gives."""
        with psycopg.connect(self._url("postgres"), autocommit=True) as connection:
            connection.execute("create table if not exists commits (number bigint)")
            started = time.perf_counter()
            count = 0
            while time.perf_counter() - started < seconds:
                connection.execute("insert into commits values (%s)", (count,), prepare=True)
                count += 1
            return count / (time.perf_counter() - started)

    def _url(self, database: str) -> str:
        return urlunsplit(urlsplit(self.settings.required_database_url())._replace(path=f"/{database}"))


@contextmanager
def own_server(tuning: PostgresTuning | None = None) -> Iterator[Server]:
    """Start a server, and make the database that others are copies of."""
    with tempfile.TemporaryDirectory(prefix="varve-benchmark-") as temporary:
        folder = Path(temporary)
        folder.chmod(0o711)  # the servers' user comes through when we are root
        directory = DataDirectory.prepare(folder / "project" / ".varve", system_folder=folder / "system")
        with running_services(directory, tuning=tuning or PostgresTuning()) as urls:
            url = urlsplit(urls.admin_database_url)
            with psycopg.connect(urls.admin_database_url, autocommit=True) as admin:
                admin.execute(f"create database {_TEMPLATE} template template0 encoding 'UTF8'")
            settings = Settings(
                data_directory=folder / "unused",
                database_url=SecretStr(urlunsplit(url._replace(path=f"/{_TEMPLATE}"))),
                redis_url=SecretStr(urls.redis_url),
                secret_key=_SECRET_KEY,
                embedder="hashing",
            )
            migrate_now(settings)
            yield Server(settings, find_postgres(directory).folder)
