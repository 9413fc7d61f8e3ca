"""Failover and restore on real servers: old tokens are answered as gone, and readers end with the new log's truth."""

import asyncio
import json
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from pydantic import SecretStr

from commands.knowledge.create_entry import CreateKnowledgeEntry
from commands.message import CommandRequest
from domain.knowledge.entry import NewEntry
from eventstore.epochs import read_epochs
from eventstore.errors import ForeignEpoch, StoreUnavailable
from queries.knowledge.entry_list import GetEntry, ListEntries
from tests.builders.actors import ANN
from tests.eventstore.servers import PostgresServer, postgres_server
from tests.fixtures.command_line import run_varve
from tests.fixtures.database import SECRET_KEY
from tests.fixtures.engine import running_engine
from varve.bootstrap import Platform, open_platform
from varve.embedded import ServiceUrls
from varve.migrate import migrate_now
from varve.settings import Settings

SHARED, LOST = 4, 3


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that the servers' user can come through."""
    with tempfile.TemporaryDirectory(prefix="varve-failover-") as temporary:
        path = Path(temporary)
        path.chmod(0o711)
        yield path


@pytest.fixture
async def primary(folder: Path) -> AsyncIterator[PostgresServer]:
    async with postgres_server(folder / "primary") as server:
        await server.make()
        yield server


def settings_of(folder: Path, services: ServiceUrls, url: str) -> Settings:
    return Settings(
        data_directory=folder / "data",
        database_url=SecretStr(url),
        redis_url=SecretStr(services.redis_url),
        secret_key=SECRET_KEY,
        embedder="hashing",
        wait_seconds=10.0,
    )


@asynccontextmanager
async def running(settings: Settings) -> AsyncIterator[Platform]:
    """The platform and a projection engine."""
    async with open_platform(settings) as platform, running_engine(settings):
        yield platform


async def create(platform: Platform, name: str) -> tuple[Any, str]:
    """Create an entry; return its id and the token that it was answered with."""
    request = CommandRequest(actor=ANN, command_id=uuid4(), correlation_id=uuid4())
    answer = await platform.commands.execute(CreateKnowledgeEntry(entry=NewEntry(name=name)), request)
    return answer.aggregate_id, str(answer.position)


async def create_many(platform: Platform, count: int, name: str) -> list[tuple[Any, str]]:
    return [await create(platform, f"{name} {number}") for number in range(count)]


async def names(platform: Platform, token: str) -> set[str]:
    """The entries of the read model, once it reflects the position `token`."""
    answer = await platform.queries.ask(ListEntries(limit=50), ANN, token)
    return {entry.name for entry in answer.value.items}


async def require_new_truth(
    platform: Platform, shared: list[tuple[Any, str]], lost: list[tuple[Any, str]], again: list[tuple[Any, str]]
) -> None:
    """Every old token is answered as its place in the new history wants, and reads show the new history alone."""
    assert [token.partition("-")[2] for _, token in again] == [token.partition("-")[2] for _, token in lost]
    assert not {token for _, token in again} & {token for _, token in lost}
    epoch, _, fork = shared[-1][1].partition("-")
    new_epoch = again[0][1].partition("-")[0]
    assert epoch[:4] == new_epoch[:4]
    for entry_id, token in shared:
        answer = await platform.queries.ask(GetEntry(entry_id=entry_id), ANN, token)
        assert answer.epoch == new_epoch
    for _, token in lost:
        with pytest.raises(ForeignEpoch) as gone:
            await platform.queries.ask(ListEntries(), ANN, token)
        assert gone.value.fork_position == f"{new_epoch}-{fork}"
    assert await names(platform, again[-1][1]) == {
        *(f"shared {number}" for number in range(SHARED)),
        *(f"new {number}" for number in range(LOST)),
    }


def either(first: PostgresServer, second: PostgresServer) -> str:
    """The URL of whichever of two servers takes writes, as a client of a replicated pair is given it."""
    return f"{first.url},{second.socket_folder}&target_session_attrs=read-write"


async def ask_until_it_answers(platform: Platform, token: str) -> None:
    """Ask as a client does that is told to come again: connections of the server that is gone are found dead."""
    async with asyncio.timeout(20):
        while True:
            with suppress(StoreUnavailable):
                await platform.queries.ask(ListEntries(), ANN, token)
                return
            await asyncio.sleep(0.1)


async def until_replicated(server: PostgresServer, position: int) -> None:
    async with await psycopg.AsyncConnection.connect(server.url, autocommit=True) as connection, asyncio.timeout(20):
        while await (await connection.execute("select varve.head()")).fetchone() != (position,):  # noqa: ASYNC110 - a server is watched
            await asyncio.sleep(0.02)


async def test_a_promoted_replica_that_lagged_answers_what_it_lost_as_gone(
    folder: Path, services: ServiceUrls, primary: PostgresServer
):
    migrate_now(settings_of(folder, services, primary.url))
    async with postgres_server(folder / "replica") as replica:
        await replica.make_replica_of(primary)
        async with running(settings_of(folder, services, either(primary, replica))) as platform:
            shared = await create_many(platform, SHARED, "shared")
            await names(platform, shared[-1][1])
            await until_replicated(replica, SHARED)
            await replica.stop_following()
            lost = await create_many(platform, LOST, "lost")
            assert "lost 0" in await names(platform, lost[-1][1])  # the read model is past the fork

            await primary.kill()
            await replica.promote()
            with pytest.raises(ForeignEpoch):  # before anyone has appended
                await ask_until_it_answers(platform, lost[0][1])
            again = await create_many(platform, LOST, "new")
            await require_new_truth(platform, shared, lost, again)


async def test_a_log_that_was_put_back_answers_what_it_lost_as_gone(
    folder: Path, services: ServiceUrls, primary: PostgresServer
):
    settings = settings_of(folder, services, primary.url)
    migrate_now(settings)
    async with running(settings) as platform:
        shared = await create_many(platform, SHARED, "shared")
        await names(platform, shared[-1][1])
    await primary.stop()
    primary.copy_data(folder / "copy")
    await primary.start()
    async with running(settings) as platform:
        lost = await create_many(platform, LOST, "lost")
        assert "lost 0" in await names(platform, lost[-1][1])
    await primary.stop()
    primary.put_back(folder / "copy")
    await primary.start()

    code, output, said = await run_varve(settings, "restore", "--yes", "--json")
    assert code == 0, said
    answer = json.loads(output)
    async with await psycopg.AsyncConnection.connect(primary.url, autocommit=True) as connection:
        _, epoch = await read_epochs(connection)
    assert answer == {"epoch": epoch.epoch, "fork_position": f"{epoch.epoch}-{SHARED}", "beyond_the_end": []}
    async with running(settings) as platform:
        with pytest.raises(ForeignEpoch):
            await platform.queries.ask(ListEntries(), ANN, lost[0][1])
        again = await create_many(platform, LOST, "new")
        await require_new_truth(platform, shared, lost, again)
