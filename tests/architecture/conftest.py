from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from varve.bootstrap import Platform, open_platform
from varve.settings import Settings


@pytest.fixture
async def wired_platform(tmp_path: Path) -> AsyncIterator[Platform]:
    """The platform as the composition root wires it, with servers that are not there: nothing is asked of them."""
    settings = Settings(
        data_directory=tmp_path,
        database_url=f"postgresql://nobody@/varve?host={tmp_path}",
        redis_url=f"unix://{tmp_path}/redis.sock",
        secret_key="a secret of thirty-two characters or more",
    )
    async with open_platform(settings) as platform:
        yield platform
