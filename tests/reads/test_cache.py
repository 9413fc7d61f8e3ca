"""Kept answers: given again without the database as long as they are good, and never past the bound."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from pydantic import SecretStr

from commands.knowledge.create_entry import CreateKnowledgeEntry
from commands.knowledge.update_entry import UpdateKnowledgeEntry
from commands.operations.projections import RebuildPlan, RebuildProjection
from domain.knowledge.entry import EntryChanges, NewEntry
from domain.shared.access import Visibility
from eventstore.errors import InvalidPosition
from eventstore.position import LogPosition
from projections.changes import ReadModelChanges
from projections.registry import topics_of_read_models
from queries.cache import Asked
from queries.knowledge.document_status import GetDocument
from queries.knowledge.entry_list import GetEntry, ListEntries
from queries.message import Answer, answer_of
from queries.ports import Question
from queries.search.message import Search
from tests.builders.actors import ADA_ADMINISTERS, ANN, BEN, EVE, OTTO_OPERATES
from tests.projections.engines import until, until_live
from tests.projections.sending import send
from varve.bootstrap import Platform, open_platform
from varve.pools import open_pool
from varve.settings import Settings

pytestmark = pytest.mark.usefixtures("engine")

VIEW = "knowledge_entry_list"
TABLE = f"read_models.{VIEW}_1_entries"
AGE = 0.25
NAMES = Question((VIEW,), f"select name from {{{VIEW}.entries}}")
SLOW_NAMES = Question((VIEW,), f"select name from (select pg_sleep(1)) slept cross join {{{VIEW}.entries}}")


class Questions:
    """Asks a platform through its cache, and counts how often an answer had to be made."""

    def __init__(self, platform: Platform) -> None:
        self.platform = platform
        self.made = 0

    async def names(self, actor=ANN, question: Question = NAMES, min_position: str | None = None) -> list[str]:
        """The names of all entries of a tenant, in no order of their own."""

        async def make() -> Answer[Any]:
            self.made += 1
            reading = await self.platform.read_models.read(actor, question)
            return answer_of(sorted(row["name"] for row in reading.rows), reading)

        answer = await self.platform.queries.cache.answer(Asked(ListEntries(), actor, min_position), make)
        return json.loads(answer.body)


@asynccontextmanager
async def asked_of(settings: Settings) -> AsyncIterator[Questions]:
    async with open_platform(settings, keeps_answers=True) as platform:
        yield Questions(platform)


@pytest.fixture
async def asked(settings) -> AsyncIterator[Questions]:
    async with asked_of(settings) as opened:
        yield opened


async def create(platform: Platform, name: str, actor=ANN, **fields: Any) -> Any:
    return await send(platform, CreateKnowledgeEntry(entry=NewEntry(name=name, **fields)), actor)


async def rename(platform: Platform, entry_id: Any, name: str) -> str:
    """Return the position that has the new name."""
    command = UpdateKnowledgeEntry(entry_id=entry_id, changes=EntryChanges(name=name))
    return str((await send(platform, command, ANN)).position)


async def test_the_same_question_is_answered_without_a_look_at_the_table(asked, admin, await_projections):
    await create(asked.platform, "Clay")
    await await_projections()
    assert await asked.names() == ["Clay"]
    async with admin.transaction():
        await admin.execute(f"lock table {TABLE} in access exclusive mode")
        async with asyncio.timeout(2):
            assert [await asked.names() for _ in range(20)] == [["Clay"]] * 20
    assert asked.made == 1


async def test_a_change_is_seen_as_soon_as_its_row_though_nobody_is_told_of_it(settings, asked, await_projections):
    """`rename` goes through another platform, and no worker says anything: the log is looked at."""
    created = await create(asked.platform, "Clay")
    await await_projections()
    assert await asked.names() == ["Clay"]
    async with open_platform(settings) as other:
        await rename(other, created.aggregate_id, "Silt")
        await await_projections(VIEW)
        visible = time.monotonic()
        while await asked.names() == ["Clay"]:
            assert time.monotonic() - visible < AGE + 0.25  # the bound, and a busy machine
            await asyncio.sleep(0.005)
    assert await asked.names() == ["Silt"]


async def test_a_position_that_is_wanted_is_never_answered_with_what_was_kept_before(asked, await_projections):
    created = await create(asked.platform, "Name 0")
    await await_projections()
    for number in range(1, 20):
        await asked.platform.queries.answer(Asked(GetEntry(entry_id=created.aggregate_id), ANN))
        position = await rename(asked.platform, created.aggregate_id, f"Name {number}")
        answer = await asked.platform.queries.answer(Asked(GetEntry(entry_id=created.aggregate_id), ANN, position))
        assert json.loads(answer.body)["name"] == f"Name {number}"


async def test_a_slow_reader_that_fills_the_cache_across_a_change_does_not_serve_the_old_row(asked, await_projections):
    created = await create(asked.platform, "Clay")
    await await_projections()
    slow = asyncio.create_task(asked.names(question=SLOW_NAMES))
    await asyncio.sleep(0.3)
    position = await rename(asked.platform, created.aggregate_id, "Silt")
    await await_projections(VIEW)
    assert await asked.names(min_position=position) == ["Silt"]
    assert await slow == ["Clay"]
    assert [await asked.names() for _ in range(5)] == [["Silt"]] * 5


async def test_a_slow_reader_of_another_process_does_not_put_the_old_row_into_redis(settings, asked, await_projections):
    created = await create(asked.platform, "Clay")
    await await_projections()
    async with asked_of(settings) as slow_one, asked_of(settings) as third:
        slow = asyncio.create_task(slow_one.names(question=SLOW_NAMES))
        await asyncio.sleep(0.3)
        await rename(asked.platform, created.aggregate_id, "Silt")
        await await_projections(VIEW)
        assert await slow == ["Clay"]
        await asyncio.sleep(AGE)
        assert [await each.names() for each in (asked, slow_one, third)] == [["Silt"]] * 3


async def test_many_who_ask_at_once_have_the_answer_made_once(asked, await_projections):
    await create(asked.platform, "Clay")
    await await_projections()
    answers = await asyncio.gather(*(asked.names() for _ in range(50)))
    assert (answers, asked.made) == ([["Clay"]] * 50, 1)


async def test_an_error_is_for_all_who_asked_at_once_and_is_not_kept(asked):
    async def fail() -> Answer[Any]:
        await asyncio.sleep(0.01)
        raise ValueError("no")

    cache = asked.platform.queries.cache
    results = await asyncio.gather(
        *(cache.answer(Asked(ListEntries(), ANN), fail) for _ in range(3)), return_exceptions=True
    )
    assert [str(result) for result in results] == ["no"] * 3
    assert await asked.names() == []


async def test_one_who_gives_up_does_not_take_the_answer_from_the_others(asked, await_projections):
    await create(asked.platform, "Clay")
    await await_projections()
    impatient, patient = (asyncio.create_task(asked.names(question=SLOW_NAMES)) for _ in range(2))
    await asyncio.sleep(0.2)
    impatient.cancel()
    assert (await patient, asked.made) == (["Clay"], 1)


async def test_what_one_user_may_see_is_not_answered_to_another(asked, await_projections):
    await create(asked.platform, "Secret", visibility=Visibility.PRIVATE)
    await await_projections()
    queries = asked.platform.queries

    async def seen(actor) -> int:
        return (await queries.answer(Asked(ListEntries(), actor))).results

    assert [await seen(actor) for actor in (ANN, BEN, ADA_ADMINISTERS, EVE) * 2] == [1, 0, 1, 0] * 2


async def test_another_process_finds_the_answer_in_redis(settings, asked, admin, await_projections):
    await create(asked.platform, "Clay")
    await await_projections()
    first = await asked.platform.queries.answer(Asked(ListEntries(), ANN))
    async with open_platform(settings, keeps_answers=True) as other:
        await until(lambda: _kept(other), "the answer is in Redis")
        async with admin.transaction():
            await admin.execute(f"lock table {TABLE} in access exclusive mode")
            async with asyncio.timeout(2):
                assert await other.queries.answer(Asked(ListEntries(), ANN)) == first


async def _kept(platform: Platform) -> bool:
    answer = await platform.queries.cache._shared.list("acme", 10)
    return bool(answer)


@pytest.mark.parametrize("url", ["unix:///nowhere/redis.sock", "redis://127.0.0.1:1"])
async def test_without_redis_everything_is_answered_and_kept_in_the_process(settings, url, await_projections):
    alone = settings.model_copy(update={"redis_url": SecretStr(url)})
    async with asked_of(alone) as asked:
        await create(asked.platform, "Clay")
        await await_projections()
        assert [await asked.names() for _ in range(5)] == [["Clay"]] * 5
        assert asked.made == 1


async def test_a_flushed_redis_has_answers_made_again(settings, asked, services, await_projections):
    await create(asked.platform, "Clay")
    await await_projections()
    await asked.names()
    await until(lambda: _kept(asked.platform), "the answer is in Redis")
    await asked.platform.queries.cache._shared._redis.flushdb()
    async with asked_of(settings) as other:
        assert (await other.names(), other.made) == (["Clay"], 1)


async def test_nothing_that_is_kept_is_given_while_the_log_can_not_be_followed(settings, await_projections):
    seconds = 2.0  # the first question may take longer than the usual bound when the machine is busy
    async with open_pool(settings, "varve_reader", 1) as pool:
        changes = ReadModelChanges(pool, topics_of_read_models(), seconds=seconds)
        assert await changes.know()
        assert changes.is_known()
    await asyncio.sleep(seconds)
    assert not changes.is_known()
    assert not await changes.know()


async def test_an_answer_of_a_generation_that_was_replaced_is_not_given(asked, admin, await_projections):
    await create(asked.platform, "Clay")
    await await_projections()
    await asked.names()
    await send(asked.platform, RebuildProjection(projection=VIEW), OTTO_OPERATES)
    await until_live(admin, VIEW, 2)
    await asyncio.sleep(AGE)
    await admin.execute(f"update read_models.{VIEW}_2_entries set name = 'of the new generation'")
    assert await asked.names() == ["of the new generation"]


async def test_an_answer_from_before_a_repair_is_not_given(asked, admin, await_projections):
    await create(asked.platform, "Clay")
    await await_projections()
    await admin.execute(f"update {TABLE} set name = 'damaged'")
    assert await asked.names() == ["damaged"]
    plan = RebuildPlan(purpose="repair", tenant="acme")
    await send(asked.platform, RebuildProjection(projection=VIEW, plan=plan), OTTO_OPERATES)

    async def is_repaired() -> bool:
        return bool(await (await admin.execute("select from varve.verifications where is_repaired")).fetchall())

    await until(is_repaired, "the tenant's rows are repaired")
    await asyncio.sleep(AGE)
    assert await asked.names() == ["Clay"]


async def test_an_answer_that_lacks_parked_events_is_not_kept(asked, admin, await_projections):
    await create(asked.platform, "Clay")
    await await_projections()
    await admin.execute(
        "insert into varve.parked (projection, generation, position, tenant, partition) "
        "values (%s, 1, 99, 'acme', 'x')",
        (VIEW,),
    )
    await asked.names()
    await asked.names()
    assert asked.made == 2


async def test_a_search_without_one_of_its_legs_is_not_kept(settings, await_projections):
    async with open_platform(settings, keeps_answers=True) as platform:
        await create(platform, "Clay")
        await await_projections()

        async def fail(_: Any) -> Any:
            raise ConnectionError("the embedder is away")

        embed, platform.embedder.embed = platform.embedder.embed, fail
        degraded = json.loads((await platform.queries.answer(Asked(Search(q="clay"), ANN))).body)
        assert degraded["degraded"] == ["vector"]
        platform.embedder.embed = embed
        assert json.loads((await platform.queries.answer(Asked(Search(q="clay"), ANN))).body)["degraded"] == []


def test_a_question_that_waits_for_a_document_is_never_answered_with_what_was_kept():
    waiting, asking = (GetDocument(document_id="0" * 32, wait_seconds=seconds) for seconds in (1, 0))
    assert (waiting.may_be_kept(), asking.may_be_kept()) == (False, True)


async def test_the_least_recently_used_answers_make_room(settings, await_projections):
    small = settings.model_copy(update={"cache_megabytes": 1})
    async with open_platform(small, keeps_answers=True) as platform:
        await create(platform, "Clay", description="x" * 9_000)
        await await_projections()
        for text in range(150):
            await platform.queries.answer(Asked(ListEntries(text=f"{'x' * (text + 1)}"), ANN))
        cache = platform.queries.cache
        assert cache._bytes <= 1_000_000
        assert cache._bytes == sum(entry.size for entry in cache._entries.values())
        assert len(cache._entries) < 150


async def test_a_position_of_another_log_is_refused_though_an_answer_is_kept(asked, await_projections):
    await create(asked.platform, "Clay")
    await await_projections()
    await asked.platform.queries.answer(Asked(ListEntries(), ANN))
    with pytest.raises(InvalidPosition):
        await asked.platform.queries.answer(Asked(ListEntries(), ANN, str(LogPosition("0" * 12, 1))))
