"""The embedder at work."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
from psycopg_pool import AsyncConnectionPool

from tests.fixtures.engine import running
from varve.bootstrap import embedder
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
