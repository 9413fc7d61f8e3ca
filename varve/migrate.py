"""Brings a database to the newest schema: roles and their passwords, then every migration that is missing."""

import asyncio
import base64
import hashlib
import hmac
from pathlib import Path

import psycopg
import structlog
from alembic import command
from alembic.config import Config
from psycopg import sql
from sqlalchemy import create_engine, pool

from varve.pools import session_limits
from varve.settings import LOGIN_ROLES, Settings

log = structlog.get_logger()

_FOLDER = Path(__file__).parent / "migrations"
_LOCK = 7235419873250119
_ITERATIONS = 4096  # PostgreSQL's default; the passwords are random, so that more would guard nothing
_SALT_BYTES = 16


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
        _limit_sessions(guard)
        _upgrade(url)
    log.info("database.migrated")


def _set_passwords(connection: psycopg.Connection, settings: Settings) -> None:
    """Let the roles log in. The server is sent a SCRAM verifier, so that no log ever holds a password."""
    for role in LOGIN_ROLES:
        salt = settings.derived_key(f"salt of database role {role}")[:_SALT_BYTES]
        verifier = _scram_verifier(settings.role_password(role), salt)
        connection.execute(
            sql.SQL("alter role {} login password {}").format(sql.Identifier(role), sql.Literal(verifier))
        )


def _scram_verifier(password: str, salt: bytes) -> str:
    """Return what PostgreSQL stores of a password in ASCII (RFC 5803).

    The same each time, other than libpq's: PgBouncer logs in with what it has learnt from the verifier of before.
    """
    salted = hashlib.pbkdf2_hmac("sha256", password.encode(), salt, _ITERATIONS)
    stored_key = hashlib.sha256(hmac.digest(salted, b"Client Key", "sha256")).digest()
    server_key = hmac.digest(salted, b"Server Key", "sha256")
    encoded = [base64.b64encode(part).decode() for part in (salt, stored_key, server_key)]
    return "SCRAM-SHA-256${}:{}${}:{}".format(_ITERATIONS, *encoded)


def _limit_sessions(connection: psycopg.Connection) -> None:
    """Give the roles the limits that pools ask for on a direct way; through PgBouncer they can't ask."""
    cursor = connection.execute(
        "select rolname, rolconfig from pg_roles where rolname = any (%s)", (list(LOGIN_ROLES),)
    )
    present = {role: set(limits or ()) for role, limits in cursor.fetchall()}
    for role in LOGIN_ROLES:
        for name, value in session_limits(role).items():
            if f"{name}={value}" not in present[role]:
                statement = sql.SQL("alter role {} set {} = {}")
                connection.execute(statement.format(sql.Identifier(role), sql.Identifier(name), sql.Literal(value)))


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
