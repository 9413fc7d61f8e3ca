"""The one statement that can't be a migration: making the database."""

from urllib.parse import quote, urlsplit, urlunsplit

import psycopg
from psycopg import sql


async def create_database_if_absent(admin_database_url: str, name: str = "varve") -> str:
    """Make the database and return its superuser's URL; safe to call at once from several processes."""
    async with await psycopg.AsyncConnection.connect(admin_database_url, autocommit=True) as connection:
        found = await connection.execute("select from pg_database where datname = %s", [name])
        if found.rowcount == 0:
            await _create(connection, name)
    return urlunsplit(urlsplit(admin_database_url)._replace(path=f"/{quote(name, safe='')}"))


async def _create(connection: psycopg.AsyncConnection, name: str) -> None:
    statement = sql.SQL("create database {} template template0 encoding 'UTF8'").format(sql.Identifier(name))
    try:
        await connection.execute(statement)
    except (psycopg.errors.DuplicateDatabase, psycopg.errors.UniqueViolation):
        return  # another process was faster
