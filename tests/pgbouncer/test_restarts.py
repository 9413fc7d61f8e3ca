"""PgBouncer is killed and comes back in the middle of work: projections, subscriptions and reads go on."""

import asyncio
import json
from collections import Counter

import pytest

from eventstore.append import open_appender
from eventstore.log import LogReader
from eventstore.mapper import PydanticMapper
from eventstore.subscribe import subscribe
from eventstore.wake import WakeSender
from tests.api.problem import require_problem
from tests.builders.appends import append_of
from tests.builders.entries import created
from tests.builders.requests import ENTRIES, create_entry
from tests.fixtures.command_line import run_varve
from tests.fixtures.engine import running
from tests.projections.counting import Counted, Listed, counts, positions
from tests.projections.engines import engine_of, until_caught_up
from tests.projections.sending import create
from varve.bootstrap import event_types
from varve.pools import connecting

RESTARTS = 3
APPENDS = 120
AWAY_SECONDS = 0.3


async def restart(pgbouncer) -> None:
    """Let it crash, and come back a moment later."""
    pgbouncer.kill()
    await asyncio.sleep(AWAY_SECONDS)
    pgbouncer.start()


async def test_a_subscription_through_restarts_loses_and_repeats_nothing(settings, pgbouncer):
    url, session = connecting(settings, "varve_projector")
    delivered: list[int] = []

    async def read() -> None:
        listen_url = settings.role_url("varve_projector")
        reader = LogReader(event_types())
        async with subscribe(reader, url, listen_url=listen_url, session=session, limit=7) as subscription:
            async for window in subscription:
                delivered.extend(event.position for event in window.events)
                if window.scanned_to >= APPENDS:
                    return

    async def append() -> None:
        sender = WakeSender(settings.role_url("varve_writer"))
        mapper = PydanticMapper(event_types())
        async with running(sender.run()), open_appender(settings.role_url("varve_writer"), mapper, sender.wake) as own:
            for number in range(APPENDS):
                await own.append(append_of({f"stream-{number}": [created()]}))
                await asyncio.sleep(0.01)

    async with asyncio.timeout(40), asyncio.TaskGroup() as tasks:
        tasks.create_task(read())
        tasks.create_task(append())
        for _ in range(RESTARTS):
            await asyncio.sleep(0.2)
            await restart(pgbouncer)
    assert delivered == list(range(1, APPENDS + 1))


async def test_projections_through_restarts_apply_every_event_once(settings, pgbouncer, admin):
    mapper = PydanticMapper(event_types())
    async with (
        open_appender(settings.role_url("varve_writer"), mapper) as appender,
        engine_of(settings, [Counted(), Listed()], window_size=5),
    ):

        async def append() -> None:
            for number in range(APPENDS):
                await appender.append(append_of({f"stream-{number}": [created()]}))
                await asyncio.sleep(0.01)

        async with running(append()) as appending:
            for _ in range(RESTARTS):
                await asyncio.sleep(0.2)
                await restart(pgbouncer)
            await appending
        await until_caught_up(admin, ["counted", "listed"])
    assert await counts(admin, "counted") == {"acme": APPENDS}
    assert await positions(admin, "listed") == {"acme": list(range(1, APPENDS + 1))}


async def until_longer(items: list, length: int) -> None:
    async with asyncio.timeout(15):
        while len(items) <= length:  # noqa: ASYNC110 - a list tells nobody
            await asyncio.sleep(0.01)


@pytest.mark.usefixtures("engine")
async def test_reads_and_appends_go_on_through_restarts(ann, pgbouncer):
    entry = await create_entry(ann)
    await ann.get(entry.url, headers=entry.seen)
    urls = [ENTRIES, entry.url, f"{entry.url}/history"]
    answered: Counter[str] = Counter()
    refused: Counter[str] = Counter()
    written, ended = [], asyncio.Event()

    async def read(url: str) -> None:
        while not ended.is_set():
            answer = await ann.get(url)
            if answer.status_code == 200:
                answered[url] += 1
            else:
                require_problem(answer, 503, "store-unavailable")
                refused[url] += 1
            await asyncio.sleep(0.005)

    async def write() -> None:
        while not ended.is_set():
            written.append(await create_entry(ann))
            await asyncio.sleep(0.02)

    async def all_answer() -> None:
        before = answered.copy()
        async with asyncio.timeout(15):
            while any(answered[url] < before[url] + 3 for url in urls):  # noqa: ASYNC110 - many tasks are watched
                await asyncio.sleep(0.01)

    async with asyncio.TaskGroup() as tasks:
        for work in (*(read(url) for url in urls * 2), write()):
            tasks.create_task(work)
        await all_answer()
        for _ in range(RESTARTS):
            before = len(written)
            pgbouncer.kill()
            await asyncio.sleep(AWAY_SECONDS)
            await until_longer(written, before + 2)  # appends take the direct way
            pgbouncer.start()
            await all_answer()
        ended.set()
    # Only what was just being answered, by two readers each, and only where nobody asks again by himself.
    assert all(refused[url] <= RESTARTS * 2 for url in urls), refused
    assert refused[ENTRIES] == 0
    seen = await ann.get(written[-1].url, headers=written[-1].seen)
    assert seen.status_code == 200


@pytest.mark.usefixtures("engine")
async def test_no_request_after_a_restart_is_given_a_connection_of_before(ann, pgbouncer):
    entry = await create_entry(ann)
    history = f"{entry.url}/history"
    await ann.get(entry.url, headers=entry.seen)
    await asyncio.gather(*(ann.get(history) for _ in range(30)))  # every connection of the pool has been used
    pgbouncer.kill()
    pgbouncer.start()
    assert {(await ann.get(history)).status_code for _ in range(30)} == {200}


async def test_the_logs_own_tools_work_while_pgbouncer_is_away(settings, platform, pgbouncer):
    entry_id = await create(platform, "Sediment")
    pgbouncer.kill()
    code, output, said = await run_varve(settings, "events", "state", f"entry-{entry_id}", "--tenant", "acme")
    assert code == 0, said
    assert json.loads(output)["state"]["name"] == "Sediment"
