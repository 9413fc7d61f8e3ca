"""What a projection could not apply is said in the log: once for each generation, in the tenant that it is of."""

from collections.abc import AsyncIterator

import pytest

from projections.generations import start_rebuild
from tests.builders import actors
from tests.projections.counting import Choosy
from tests.projections.engines import engine_of, until, until_caught_up
from tests.projections.sending import create
from varve.pools import open_pool
from workers.parked_facts import ParkedFacts


@pytest.fixture
async def facts(settings, platform) -> AsyncIterator[ParkedFacts]:
    async with open_pool(settings, "varve_projector", 1) as pool:
        yield ParkedFacts(pool, platform.commands)


async def told(admin) -> list[tuple[str, int, str, int]]:
    cursor = await admin.execute(
        "select tenant, (data ->> 'generation')::integer, data ->> 'position', (data ->> 'attempts')::integer "
        "from varve.events_json where topic = 'operations.EventParked' order by position"
    )
    return await cursor.fetchall()


async def tokens(admin) -> list[str]:
    """The positions of the events of entries."""
    cursor = await admin.execute(
        "select epoch || '-' || position from varve.events, varve.log_epochs "
        "where stream like 'entry-%' order by position"
    )
    return [token for (token,) in await cursor.fetchall()]


async def test_an_event_that_is_parked_is_told_once(settings, platform, admin, facts):
    bad, theirs = await create(platform, "bad"), await create(platform, "bad", actors.EVE)
    await create(platform, "good")
    first, second, _ = await tokens(admin)
    async with engine_of(settings, [Choosy(bad, theirs)]):
        await until_caught_up(admin, ["choosy"])
    await facts.tell_once()
    expected = [("acme", 1, first, 3), ("umbra", 1, second, 3)]
    assert await told(admin) == expected
    await facts.tell_once()
    await admin.execute("update varve.parked set is_told = false")  # a process died before it noted that
    await facts.tell_once()
    assert await told(admin) == expected
    cursor = await admin.execute("select data, user_id from varve.commands where command_type = 'NoteParkedEvent'")
    assert {user for _, user in await cursor.fetchall()} == {"varve"}


async def test_what_waits_behind_it_is_not_told(settings, platform, admin, facts):
    bad = await create(platform, "bad")
    async with engine_of(settings, [Choosy(bad)]):
        await until_caught_up(admin, ["choosy"])
        await admin.execute(
            "insert into varve.parked (projection, generation, position, tenant, partition) "
            "select projection, generation, 1000, tenant, partition from varve.parked"
        )
    await facts.tell_once()
    assert [position for _, _, position, _ in await told(admin)] == await tokens(admin)


async def test_a_rebuild_that_parks_it_again_tells_it_of_its_own_generation(settings, platform, admin, facts):
    async def have_both_parked() -> bool:
        cursor = await admin.execute("select from varve.parked")
        return cursor.rowcount == 2

    bad = await create(platform, "bad")
    choosy = Choosy(bad)
    async with engine_of(settings, [choosy]):
        await until_caught_up(admin, ["choosy"])
        await facts.tell_once()
        async with admin.transaction():
            await admin.execute("set local role varve_projector")
            await start_rebuild(admin, choosy, "hold")
        await until(have_both_parked, "the rebuild has parked it, too")
        await facts.tell_once()
        await facts.tell_once()
        assert [generation for _, generation, _, _ in await told(admin)] == [1, 2]
