"""A database as an older release left it: made by the first migration, filled with stored bytes, then migrated."""

import json
from pathlib import Path
from typing import Any

import psycopg
from alembic import command
from alembic.config import Config
from psycopg import sql
from sqlalchemy import create_engine, pool

from varve import migrate
from varve.settings import Settings

FIXTURES = Path(__file__).parent / "fixtures"
FIRST_RELEASE = FIXTURES / "first_release.jsonl"
"""Every event type at version 1 as a row with its exact bytes, two tenants, snapshots, claims. Never written again."""
THREE_VERSIONS = FIXTURES / "three_versions.jsonl"
"""Streams of `tests.eventstore.cores`, whose events were stored by three releases, and a snapshot of the first."""

_BYTES = ("data", "metadata")


def rows(*files: Path) -> list[dict[str, Any]]:
    """Return the rows of fixtures, each with the name of its table; positions are given in the order of the rows."""
    found = [json.loads(line) for file in files for line in file.read_bytes().splitlines()]
    events = [row for row in found if row["table"] == "events"]
    for position, row in enumerate(events, start=1):
        row["position"] = position
    return [{name: value.encode() if name in _BYTES else value for name, value in row.items()} for row in found]


def restore(settings: Settings, *files: Path) -> None:
    """Make what the first release made in an empty database, put the rows in, and migrate it as an upgrade would."""
    url = settings.required_database_url()
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute((migrate._FOLDER / "server.sql").read_bytes())
        _make_tables_of_first_release(url)
        for row in rows(*files):
            _insert(connection, **row)
    migrate.migrate_now(settings)


def _make_tables_of_first_release(url: str) -> None:
    config = Config()
    config.set_main_option("script_location", str(migrate._FOLDER))
    engine = create_engine("postgresql+psycopg://", creator=lambda: psycopg.connect(url), poolclass=pool.NullPool)
    with engine.connect() as connection:
        connection.exec_driver_sql("set role varve_owner")
        connection.commit()
        config.attributes["connection"] = connection
        command.upgrade(config, "0001")
        connection.commit()


def _insert(connection: psycopg.Connection[Any], *, table: str, **columns: Any) -> None:
    connection.execute(
        sql.SQL("insert into varve.{} ({}) values ({})").format(
            sql.Identifier(table),
            sql.SQL(", ").join(map(sql.Identifier, columns)),
            sql.SQL(", ").join(map(sql.Placeholder, columns)),
        ),
        columns,
    )
