"""Queries on a streaming replica: asked there while it can answer, never behind the position that is wanted."""

import asyncio
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import psycopg
import pytest
from pydantic import SecretStr

from commands.knowledge.create_entry import CreateKnowledgeEntry
from eventstore.position import LogPosition
from queries.cache import Asked
from queries.knowledge.entry_list import ListEntries
from queries.ports import Question
from tests.builders.actors import ANN
from tests.builders.entries import new_entry
from tests.eventstore.servers import PostgresServer, postgres_server
from tests.fixtures.database import SECRET_KEY
from tests.fixtures.engine import running_engine
from tests.projections.engines import until
from tests.projections.sending import create, send
from varve.bootstrap import Platform, open_platform
from varve.migrate import migrate_now
from varve.settings import Settings

VIEW = "knowledge_entry_list"
NAMES = Question((VIEW,), f"select name, pg_is_in_recovery() as is_replica from {{{VIEW}.entries}}")


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that the servers' user can come through."""
    with tempfile.TemporaryDirectory(prefix="varve-replica-") as temporary:
        path = Path(temporary)
        path.chmod(0o711)
        yield path


@asynccontextmanager
async def replicated(folder: Path, services) -> AsyncIterator[tuple[Platform, PostgresServer]]:
    """A platform with an engine on a primary, whose queries go to a replica of it."""
    async with postgres_server(folder / "primary") as primary, postgres_server(folder / "replica") as replica:
        await primary.make()
        settings = Settings(
            data_directory=folder / "data",
            database_url=SecretStr(primary.url),
            redis_url=SecretStr(services.redis_url),
            secret_key=SECRET_KEY,
            embedder="hashing",
            wait_seconds=10.0,
        )
        await asyncio.to_thread(migrate_now, settings)
        async with running_engine(settings):
            await replica.make_replica_of(primary)
            reading = settings.model_copy(update={"read_database_url": SecretStr(replica.url)})
            async with open_platform(reading, keeps_answers=True) as platform:
                yield platform, replica


async def replay(replica: PostgresServer, function: str) -> None:
    async with await psycopg.AsyncConnection.connect(replica.url, autocommit=True) as connection:
        await connection.execute(f"select pg_wal_replay_{function}()")


async def servers(platform: Platform, least: LogPosition | None = None) -> set[bool]:
    """Whether each row was read on a replica."""
    reading = await platform.read_models.read(ANN, NAMES, least)
    return {row["is_replica"] for row in reading.rows}


async def names(platform: Platform, position: str | None = None) -> set[str]:
    answer = await platform.queries.ask(ListEntries(limit=200), ANN, position)
    return {item.name for item in answer.value.items}


async def answered_by_replica(platform: Platform) -> bool:
    return await servers(platform) == {True}


async def answered_by_primary(platform: Platform) -> bool:
    return await servers(platform) == {False}


@pytest.mark.slow
async def test_a_paused_replica_is_never_read_behind_the_position_that_is_wanted(folder, services):
    async with replicated(folder, services) as (platform, replica):
        await create(platform, "before")
        await until(lambda: answered_by_replica(platform), "the replica answers")

        await replay(replica, "pause")
        last = None
        for number in range(10):
            last = await send_name(platform, f"name {number}")
            assert f"name {number}" in await names(platform, last)
            assert f"name {number}" in await names_kept(platform, last)
        assert await names(platform) == {"before"}  # nobody asked for more: what the replica has, by its own position

        await replay(replica, "resume")

        async def has_caught_up() -> bool:
            epoch, _, position = last.partition("-")
            return await servers(platform, LogPosition(epoch, int(position))) == {True}

        await until(has_caught_up, "the replica answers for the last position too")
        assert len(await names(platform)) == 11


@pytest.mark.slow
async def test_the_primary_answers_while_the_replica_is_away(folder, services):
    async with replicated(folder, services) as (platform, replica):
        await create(platform, "before")
        await until(lambda: answered_by_replica(platform), "the replica answers")
        await replica.kill()
        await until(lambda: answered_by_primary(platform), "the primary answers: a killed server's children end later")
        assert await names(platform) == {"before"}
        await replica.start()
        await until(lambda: answered_by_replica(platform), "the replica answers again")


@pytest.mark.slow
async def test_a_replica_of_another_history_is_not_believed(folder, services):
    async with replicated(folder, services) as (platform, replica):
        await create(platform, "before")
        await until(lambda: answered_by_replica(platform), "the replica answers")
        reading = await platform.read_models.read(ANN, NAMES)
        await replica.stop_following()
        await replica.promote()
        async with await psycopg.AsyncConnection.connect(replica.url, autocommit=True) as connection:
            await connection.execute("select varve.check_epoch()")
        again = await platform.read_models.read(ANN, NAMES)
        assert (again.epoch, {row["is_replica"] for row in again.rows}) == (reading.epoch, {False})


async def send_name(platform: Platform, name: str) -> str:
    return str((await send(platform, CreateKnowledgeEntry(entry=new_entry(name=name)))).position)


async def names_kept(platform: Platform, position: str) -> str:
    """The same through the cache, as text."""
    return (await platform.queries.answer(Asked(ListEntries(limit=200), ANN, position))).body.decode()
