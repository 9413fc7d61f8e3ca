"""The appender on real connections."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
from psycopg_pool import AsyncConnectionPool

from eventstore.append import Appender, open_appender
from eventstore.mapper import PydanticMapper
from varve.bootstrap import event_types
from varve.pools import open_pool
from varve.settings import Settings


@pytest.fixture
async def writer_pool(settings: Settings) -> AsyncIterator[AsyncConnectionPool[Any]]:
    async with open_pool(settings, "varve_writer", 8) as pool:
        yield pool


@pytest.fixture
async def appender(settings: Settings) -> AsyncIterator[Appender]:
    async with open_appender(settings.role_url("varve_writer"), PydanticMapper(event_types())) as appender:
        yield appender
