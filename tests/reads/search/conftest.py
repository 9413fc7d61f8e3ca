"""A search index to write and to ask: one database for the folder, emptied before every test."""

from collections.abc import Iterator

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from tests.fixtures.database import SECRET_KEY
from tests.reads.search.index import SearchIndex
from varve.embedded import ServiceUrls
from varve.migrate import migrate_now
from varve.settings import Settings

_DATABASE = "search_sql"


@pytest.fixture(scope="package")
def created_index(services: ServiceUrls) -> Iterator[SearchIndex]:
    with psycopg.connect(services.admin_database_url, autocommit=True) as administrator:
        administrator.execute(f"create database {_DATABASE}")
        try:
            url = services.admin_database_url.replace("/postgres?", f"/{_DATABASE}?")
            migrate_now(Settings(database_url=url, secret_key=SECRET_KEY))
            with psycopg.connect(make_conninfo(url), autocommit=True) as connection:
                index = SearchIndex(connection)
                index.create()
                yield index
        finally:  # a run in several processes may come back to the folder
            administrator.execute(f"drop database {_DATABASE} with (force)")


@pytest.fixture
def index(created_index: SearchIndex) -> SearchIndex:
    created_index.clear()
    return created_index
