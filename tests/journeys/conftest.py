"""A whole system on the test's event loop: API, projections, document processing and embedding."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from projections.engine import Engine
from tests.fixtures.engine import running
from varve.bootstrap import DocumentWork

EXAMPLES = Path(__file__).parents[2] / "examples" / "documents"
_WAKE_SECONDS = 0.03


@pytest.fixture
def setting_overrides() -> dict[str, Any]:
    return {"wait_seconds": 20.0}


@pytest.fixture
async def system(engine: Engine, document_work: DocumentWork) -> AsyncIterator[DocumentWork]:
    """The workers, running; they are woken as often as messages would."""

    async def wake_again_and_again() -> None:
        while True:
            document_work.wake()
            await asyncio.sleep(_WAKE_SECONDS)

    async with running(wake_again_and_again()):
        yield document_work
