"""Positions become visible in order: a reader that saw one is never shown a smaller one, and never a gap."""

import asyncio
import multiprocessing

import psycopg

from eventstore.append import open_appender
from eventstore.mapper import PydanticMapper
from tests.builders.appends import append_of
from tests.builders.entries import created
from varve.bootstrap import event_types
from varve.settings import Settings

WRITERS = 4
TASKS = 4
APPENDS = 25
EVENTS = 2


def write(settings: Settings, writer: int) -> None:
    asyncio.run(_write(settings, writer))


async def _write(settings: Settings, writer: int) -> None:
    async with open_appender(settings.role_url("varve_writer"), PydanticMapper(event_types())) as appender:

        async def one(task: int) -> None:
            for number in range(APPENDS):
                name = f"{writer}-{task}-{number}"
                await appender.append(append_of({name: [created()] * EVENTS}))

        await asyncio.gather(*(one(task) for task in range(TASKS)))


async def test_a_tailing_reader_sees_every_position_once_and_in_order(settings: Settings):
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=write, args=(settings, number)) for number in range(WRITERS)]
    for writer in writers:
        writer.start()
    seen: list[int] = []
    wanted = WRITERS * TASKS * APPENDS * EVENTS
    url = settings.role_url("varve_projector")
    async with asyncio.timeout(60), await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
        while len(seen) < wanted:
            cursor = await connection.execute(
                "select position from varve.events where position > %s order by position", (seen[-1] if seen else 0,)
            )
            seen += [position for (position,) in await cursor.fetchall()]
            assert seen == list(range(1, len(seen) + 1))
    for writer in writers:
        await asyncio.to_thread(writer.join)
    assert [writer.exitcode for writer in writers] == [0] * WRITERS
