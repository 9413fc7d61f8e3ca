"""How the log's own tools reach it: PostgreSQL is all they need, the rest of Varve may stand still."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from eventstore.sessions import SESSION_OPTIONS
from varve.cli.output import running_settings
from varve.settings import Settings

_CONNECT_SECONDS = 5


class LogUnreachable(Exception):
    """PostgreSQL does not answer; the message says where it was looked for."""


def log_settings() -> Settings:
    """Return the settings, once PostgreSQL has answered.

    Raises:
        LogUnreachable: it does not.
        MissingSettingError: it is not known where it is.
    """
    with _unreachable():
        settings = running_settings().without_pooler()
    with _unreachable(settings), psycopg.connect(_conninfo(settings)):
        return settings


@asynccontextmanager
async def open_log(settings: Settings) -> AsyncIterator[psycopg.AsyncConnection[Any]]:
    """Open a connection as `varve_admin`, in autocommit mode."""
    with _unreachable(settings):
        connection = await psycopg.AsyncConnection.connect(_conninfo(settings), autocommit=True)
    async with connection:
        yield connection


def _conninfo(settings: Settings) -> str:
    url = settings.role_url("varve_admin")
    return make_conninfo(
        url, connect_timeout=_CONNECT_SECONDS, options=SESSION_OPTIONS, application_name="varve command line"
    )


@contextmanager
def _unreachable(settings: Settings | None = None) -> Iterator[None]:
    try:
        yield
    except psycopg.OperationalError as error:
        place = ""
        if settings is not None:
            known = conninfo_to_dict(settings.required_database_url())
            place = f" at {known.get('host', 'the default socket')}, database {known.get('dbname')}"
        raise LogUnreachable(
            f"PostgreSQL does not answer{place}: {str(error).strip()}. These tools need it, and nothing else of Varve."
        ) from error
