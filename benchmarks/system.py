"""Finds the Varve to measure, or starts one that is gone afterwards."""

import itertools
import os
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

from benchmarks.corpus import made_up_entries
from varve.client import URL_FILE, ApiClient, ApiError
from varve.settings import Settings
from varve.up import running_system

_SETTLE_SECONDS = 300.0
_CREATED_AT_ONCE = 200


@asynccontextmanager
async def system_to_measure() -> AsyncIterator[Settings]:
    """Yield the settings by which `varve.client.open_client` finds the system to measure.

    It is the one that `VARVE_URL` names, or the one that runs in this folder, else one that is started in a temporary
    folder.
    """
    settings = Settings()
    if "VARVE_URL" in os.environ or (settings.data_directory / URL_FILE).exists():
        yield settings
        return
    async with own_system(settings) as started:
        yield started


@asynccontextmanager
async def own_system(settings: Settings) -> AsyncIterator[Settings]:
    """Start a system with `settings` on a free port in a temporary folder, and yield its own settings."""
    os.environ.pop("VARVE_TOKEN", None)  # of another system: this one's tokens are made from its own secret
    with _open_folder() as data_directory:
        own = {"data_directory": data_directory, "database_url": None, "redis_url": None, "api_port": 0}
        async with running_system(settings.model_copy(update=own)) as system:
            yield system.settings


async def filled(client: ApiClient, count: int) -> list[str]:
    """Create `count` made-up entries, wait until they can be searched, and return their ids."""
    return await filled_with(client, list(itertools.islice(made_up_entries(), count)))


async def filled_with(client: ApiClient, entries: Sequence[Mapping[str, Any]]) -> list[str]:
    """Create `entries`, wait until they can be searched, and return their ids."""
    ids: list[str] = []
    for start in range(0, len(entries), _CREATED_AT_ONCE):
        answer, _ = await client.post("/entries:batch", json={"entries": entries[start : start + _CREATED_AT_ONCE]})
        ids += answer["entry_ids"]
    await settled(client)
    return ids


async def settled(client: ApiClient) -> None:
    """Wait until every leg of the search has caught up, so that nothing pays for what was measured before it."""
    await until_indexed(client, await client.head(), _SETTLE_SECONDS)


async def until_indexed(client: ApiClient, position: str, seconds: float) -> None:
    """Wait until both legs of the search have reached `position`.

    Raises:
        ApiError: they have not in `seconds`, or the search refuses.
    """
    deadline = time.monotonic() + seconds
    while True:
        try:
            await client.get("/search", min_position=position, q="a", limit=1)
        except ApiError as error:
            if error.code != "position-not-reached" or time.monotonic() > deadline:
                raise
        else:
            return


@contextmanager
def _open_folder() -> Iterator[Path]:
    """Yield a temporary folder that the servers' user can come through when we are root."""
    with tempfile.TemporaryDirectory(prefix="varve-benchmark-") as temporary:
        data_directory = Path(temporary, ".varve")
        data_directory.mkdir()
        for folder in (Path(temporary), data_directory):
            folder.chmod(0o711)
        yield data_directory
