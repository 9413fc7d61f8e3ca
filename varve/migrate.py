"""Brings a database to the newest schema: roles and their passwords, then every migration that is missing."""

import asyncio
from pathlib import Path

import psycopg
import structlog
from alembic import command
from alembic.config import Config
from psycopg import sql
from sqlalchemy import create_engine, pool

from varve.settings import LOGIN_ROLES, Settings

log = structlog.get_logger()

_FOLDER = Path(__file__).parent / "migrations"
_LOCK = 7235419873250119


async def migrate(settings: Settings) -> None:
    """Migrate the database of `settings`; safe to run at the same time from several processes."""
    await asyncio.to_thread(migrate_now, settings)


def migrate_now(settings: Settings) -> None:
    """Migrate, blocking."""
    url = settings.required_database_url()
    # One session holds the lock while another one migrates, so that two `varve migrate` stand in line.
    with psycopg.connect(url, autocommit=True) as guard:
        guard.execute("select pg_advisory_lock(%s)", (_LOCK,))
        guard.execute((_FOLDER / "server.sql").read_bytes())
        _set_passwords(guard, settings)
        _upgrade(url)
    log.info("database.migrated")


def _set_passwords(connection: psycopg.Connection, settings: Settings) -> None:
    """Let the roles log in. The server is sent a SCRAM verifier, so that no log ever holds a password."""
    for role in LOGIN_ROLES:
        verifier = connection.pgconn.encrypt_password(
            settings.role_password(role).encode(), role.encode(), b"scram-sha-256"
        )
        connection.execute(
            sql.SQL("alter role {} login password {}").format(sql.Identifier(role), sql.Literal(verifier.decode()))
        )


def _upgrade(url: str) -> None:
    config = Config()
    config.set_main_option("script_location", str(_FOLDER))
    engine = create_engine("postgresql+psycopg://", creator=lambda: psycopg.connect(url), poolclass=pool.NullPool)
    with engine.connect() as connection:
        connection.exec_driver_sql("set role varve_owner")
        connection.exec_driver_sql("set lock_timeout = '10s'")
        connection.commit()
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
        connection.commit()
