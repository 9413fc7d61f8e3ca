"""Events that a projection can't apply: their partition waits, everything else goes on, and nothing is forgotten."""

from uuid import UUID

import pytest

from commands.knowledge.update_entry import UpdateKnowledgeEntry
from commands.operations.projections import (
    PauseProjection,
    RebuildProjection,
    ResumeProjection,
    RetryParkedEvents,
    SkipParkedEvent,
)
from domain.knowledge.entry import EntryChanges
from projections.definition import Projection
from projections.operations.operator_requests import OperatorRequests
from projections.registry import rebuildable
from tests.builders import actors
from tests.projections.counting import Choosy, Failing, counts
from tests.projections.engines import engine_of, lanes, until, until_caught_up, until_live
from tests.projections.sending import create, create_many, send
from varve.bootstrap import open_platform

REASON = "it was sent twice"


async def rename(platform, entry_id: UUID, name: str) -> None:
    await send(platform, UpdateKnowledgeEntry(entry_id=entry_id, changes=EntryChanges(name=name)))


async def listed(admin, generation: int = 1) -> dict[str, list[int]]:
    cursor = await admin.execute(f"select stream, positions from read_models.choosy_{generation}_lists")
    return dict(await cursor.fetchall())


async def logged(admin) -> dict[str, list[int]]:
    cursor = await admin.execute(
        "select stream, array_agg(position order by position) from varve.events "
        "where topic like 'knowledge.KnowledgeEntry%' group by stream"
    )
    return dict(await cursor.fetchall())


async def parked(admin, projection: str = "choosy", generation: int = 1) -> list[tuple[int, str | None]]:
    cursor = await admin.execute(
        "select position, error from varve.parked where projection = %s and generation = %s order by position",
        (projection, generation),
    )
    return await cursor.fetchall()


async def until_parked(admin, count: int, generation: int = 1) -> None:
    async def are_parked() -> bool:
        return len(await parked(admin, generation=generation)) == count

    await until(are_parked, f"{count} events are parked")


async def token(admin, position: int) -> str:
    cursor = await admin.execute("select epoch from varve.log_epochs order by number desc limit 1")
    (epoch,) = await cursor.fetchone()
    return f"{epoch}-{position}"


async def ask(platform, command) -> None:
    await send(platform, command, actors.OTTO_OPERATES)


def with_requests(*projections: Projection) -> list[Projection]:
    return [*projections, OperatorRequests({each.NAME: each for each in projections})]


@pytest.fixture
async def operators(settings, monkeypatch):
    """A platform whose commands know the projections of these tests, too."""
    monkeypatch.setattr("varve.bootstrap.rebuildable", lambda: rebuildable() | {"choosy", "failing"})
    async with open_platform(settings) as opened:
        yield opened


async def test_one_partition_waits_in_order_and_all_others_go_on(settings, platform, admin):
    bad = await create(platform, "bad")
    await create_many(platform, 300)
    await rename(platform, bad, "still bad")
    async with engine_of(settings, [Choosy(bad)]):
        await until_caught_up(admin, ["choosy"])
    everything = await logged(admin)
    stream = f"entry-{bad}"
    first, second = everything.pop(stream)
    assert await listed(admin) == everything
    assert await parked(admin) == [(first, "ValueError"), (second, None)]
    (lane,) = await lanes(admin, "choosy")
    assert (lane["failures"], lane["error"]) == (0, None)


async def test_what_was_parked_stays_so_when_another_worker_takes_over(settings, platform, admin):
    bad = await create(platform, "bad")
    choosy = Choosy(bad)
    async with engine_of(settings, [choosy]):
        await until_parked(admin, 1)
    await rename(platform, bad, "still bad")
    choosy.bad.clear()
    async with engine_of(settings, [choosy]):
        await until_parked(admin, 2)
        await until_caught_up(admin, ["choosy"])
    assert await listed(admin) == {}


async def test_a_retry_applies_what_waits_in_its_order(settings, platform, admin, operators):
    bad = await create(platform, "bad")
    other = await create(platform, "bad, too")
    choosy = Choosy(bad, other)
    async with engine_of(settings, with_requests(choosy)):
        await rename(platform, bad, "second")
        await until_parked(admin, 3)
        choosy.bad = {f"entry-{other}"}
        await ask(operators, RetryParkedEvents(projection="choosy"))
        await until_parked(admin, 1)
        await rename(platform, bad, "third")
        await until_caught_up(admin, ["choosy"])
    everything = await logged(admin)
    assert (await listed(admin))[f"entry-{bad}"] == everything[f"entry-{bad}"]
    ((position, error),) = await parked(admin)
    assert ([position], error) == (everything[f"entry-{other}"], "ValueError")
    cursor = await admin.execute("select attempts, stack from varve.parked")
    attempts, stack = await cursor.fetchone()
    assert attempts == 4
    assert "cannot apply" in stack


async def test_one_that_is_retried_by_its_position_leaves_others_parked(settings, platform, admin, operators):
    bad = [await create(platform, f"bad {number}") for number in range(2)]
    choosy = Choosy(*bad)
    async with engine_of(settings, with_requests(choosy)):
        await until_parked(admin, 2)
        choosy.bad.clear()
        (position, _), _ = await parked(admin)
        await ask(operators, RetryParkedEvents(projection="choosy", position=await token(admin, position)))
        await until_parked(admin, 1)
    assert list(await listed(admin)) == [f"entry-{bad[0]}"]


async def test_a_skipped_event_is_left_out_now_and_by_every_rebuild(settings, platform, admin, operators):
    bad = await create(platform, "bad")
    choosy = Choosy(bad)
    async with engine_of(settings, with_requests(choosy)):
        await until_parked(admin, 1)
        ((position, _),) = await parked(admin)
        await rename(platform, bad, "good")
        await until_parked(admin, 2)
        choosy.bad.clear()
        await ask(operators, SkipParkedEvent(projection="choosy", position=await token(admin, position), reason=REASON))
        await until_parked(admin, 0)
        await until_caught_up(admin, ["choosy"])
        stream = f"entry-{bad}"
        wanted = {stream: (await logged(admin))[stream][1:]}
        assert await listed(admin) == wanted
        await ask(operators, RebuildProjection(projection="choosy"))
        await until_live(admin, "choosy", 2)
    assert await listed(admin, 2) == wanted
    cursor = await admin.execute("select data->>'reason' from varve.events_json where topic like '%Skipped'")
    assert await cursor.fetchall() == [(REASON,)]


async def test_a_rebuild_that_parks_more_is_not_swapped_in(settings, platform, admin, operators):
    bad = await create(platform, "bad")
    choosy = Choosy()
    async with engine_of(settings, with_requests(choosy)):
        await until_caught_up(admin, ["choosy"])
        choosy.bad.add(f"entry-{bad}")
        await ask(operators, RebuildProjection(projection="choosy"))
        await until_parked(admin, 1, generation=2)
        await until_caught_up(admin, ["choosy"])
        assert {lane["status"] for lane in await lanes(admin, "choosy")} == {"live", "building"}
        choosy.bad.clear()
        await ask(operators, RetryParkedEvents(projection="choosy"))
        await until_live(admin, "choosy", 2)
    assert await listed(admin, 2) == await logged(admin)


async def test_one_of_ten_thousand_fails_and_the_rows_are_whole_after_a_retry_and_a_rebuild(
    settings, platform, admin, operators
):
    for _ in range(50):
        await create_many(platform, 100)
    bad = await create(platform, "bad")
    for _ in range(49):
        await create_many(platform, 100)
    await rename(platform, bad, "second")
    choosy = Choosy(bad)
    async with engine_of(settings, with_requests(choosy)):
        await until_caught_up(admin, ["choosy"])
        everything = await logged(admin)
        assert await listed(admin) == {stream: all_ for stream, all_ in everything.items() if stream != f"entry-{bad}"}
        choosy.bad.clear()
        await ask(operators, RetryParkedEvents(projection="choosy"))
        await until_parked(admin, 0)
        assert await listed(admin) == everything
        await ask(operators, RebuildProjection(projection="choosy"))
        await until_live(admin, "choosy", 2)
    assert await listed(admin, 2) == everything


class TestAProjectionThatAlwaysFails:
    async def test_it_pauses_and_says_why_instead_of_parking_everything(self, settings, platform, admin, operators):
        failing = Failing()

        async def is_paused() -> bool:
            cursor = await admin.execute("select pause_reason from varve.generations where projection = 'failing'")
            return "ValueError" in str(await cursor.fetchone())

        async with engine_of(settings, with_requests(failing)):
            await create_many(platform, 50)
            await until(is_paused, "the projection is paused")
            assert len(await parked(admin, "failing")) <= 4
            failing.is_mended = True
            await ask(operators, ResumeProjection(projection="failing"))
            await ask(operators, RetryParkedEvents(projection="failing"))
            await until_caught_up(admin, ["failing"])

            async def is_whole() -> bool:
                return await counts(admin, "failing") == {"acme": 50}

            await until(is_whole, "every event is counted")

    async def test_a_paused_projection_stands_still_and_goes_on_where_it_was(
        self, settings, platform, admin, operators
    ):
        choosy = Choosy()

        async def has_stopped() -> bool:
            (lane,) = await lanes(admin, "choosy")
            return lane["leased_until"] is not None and await is_expired(admin)

        async with engine_of(settings, with_requests(choosy)):
            await create_many(platform, 5)
            await until_caught_up(admin, ["choosy"])
            await ask(operators, PauseProjection(projection="choosy", reason="its disk is full"))
            await until(has_stopped, "no worker has the lane")
            before = await listed(admin)
            await create_many(platform, 5)
            await until_caught_up(admin, ["operator_requests"])
            assert await listed(admin) == before
            await ask(operators, ResumeProjection(projection="choosy"))
            await until_caught_up(admin, ["choosy"])
        assert await listed(admin) == await logged(admin)


async def is_expired(admin) -> bool:
    cursor = await admin.execute("select leased_until < now() from varve.leases where projection = 'choosy'")
    return bool((await cursor.fetchone())[0])
