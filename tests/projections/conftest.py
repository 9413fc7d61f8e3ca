"""The embedder at work, and what given events become."""

from collections.abc import AsyncIterator
from typing import Any, Protocol

import pytest
from psycopg_pool import AsyncConnectionPool

from eventstore.append import open_appender
from eventstore.mapper import PydanticMapper
from projections.definition import Projection
from tests.fixtures.engine import running
from tests.projections.engines import Connection
from tests.projections.spec import Given, Told
from varve.bootstrap import embedder, event_types
from varve.pools import open_pool
from varve.settings import Settings
from workers.embedding.requests import EmbeddingRequests


@pytest.fixture
async def projector_pool(settings: Settings) -> AsyncIterator[AsyncConnectionPool[Any]]:
    """Connections of the role that writes read models."""
    async with open_pool(settings, "varve_projector", 8) as pool:
        yield pool


@pytest.fixture
async def embedding(settings: Settings, projector_pool: AsyncConnectionPool[Any]) -> AsyncIterator[EmbeddingRequests]:
    """The embedding worker, running on the test's event loop."""
    requests = EmbeddingRequests(embedder(settings), projector_pool)
    async with running(requests.run()):
        yield requests


class GivenEvents(Protocol):
    """Starts a sentence: given a projection and these events, once in a test."""

    def __call__(self, projection: Projection, *events: Told) -> Given: ...


@pytest.fixture
async def given(
    settings: Settings, projector_pool: AsyncConnectionPool[Any], admin: Connection
) -> AsyncIterator[GivenEvents]:
    """The words of a projection's test."""
    async with open_appender(settings.role_url("varve_writer"), PydanticMapper(event_types())) as appender:

        def start(projection: Projection, *events: Told) -> Given:
            return Given(projection, events, appender=appender, pool=projector_pool, admin=admin)

        yield start
