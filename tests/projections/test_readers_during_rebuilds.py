"""Rebuilds, swaps and a rollback under load, with readers who ask throughout, one of them for seconds at a time."""

import asyncio
import time
from bisect import bisect_right
from contextlib import AsyncExitStack
from typing import Any

from projections.knowledge.entry_list import KnowledgeEntryListView
from projections.live import LiveReadModels, Rows
from projections.operations.operator_requests import OperatorRequests
from queries.ports import Question
from tests.builders import actors
from tests.builders.requests import ENTRIES, create_entry
from tests.fixtures.engine import running
from tests.projections.comparing import rebuild
from tests.projections.engines import engine_of, until, until_caught_up, until_live
from tests.projections.sending import create, create_many

VIEW = KnowledgeEntryListView.NAME
PAGE = 200
AT_ONCE_SECONDS = 0.5
LONG_REPORT = Question(
    (VIEW,),
    "with rows as materialized (select e.entry_id, pg_sleep(0.03) from {knowledge_entry_list.entries} e) "
    "select count(*) as n from rows",
)
REPORTING = """
select from pg_stat_activity where usename = 'varve_reader' and state = 'active' and query like '%pg_sleep%'
  and datname = current_database()
"""
SHORT_QUESTION = Question((VIEW,), "select count(*) as n from {knowledge_entry_list.entries}")


class OneLane(KnowledgeEntryListView):
    """The view with each position and its rows in one transaction: of several lanes one may be further than another."""

    LANES = 1


class Seen:
    """What a reader was answered: positions, and how many entries there were at them."""

    def __init__(self) -> None:
        self.answers: list[tuple[int, int]] = []

    def note(self, position: int, entries: int) -> None:
        assert not self.answers or position >= self.answers[-1][0], "positions never go back"
        self.answers.append((position, entries))

    async def read_lists(self, reader) -> None:
        """List all entries, again and again, until cancelled."""
        while True:
            answer = await reader.get(ENTRIES, params={"limit": PAGE})
            assert answer.status_code == 200, answer.text
            self.note(int(answer.headers["X-Position"].rpartition("-")[2]), len(answer.json()["items"]))
            await asyncio.sleep(0.01)

    def note_rows(self, rows: Rows) -> None:
        self.note(rows.position, rows.rows[0]["n"])

    async def require_whole(self, admin) -> None:
        """See that each answer had exactly the entries that there were at its position."""
        cursor = await admin.execute(
            "select position from varve.events where topic = 'knowledge.KnowledgeEntryCreated' order by position"
        )
        created = [position for (position,) in await cursor.fetchall()]
        assert self.answers
        assert [bisect_right(created, position) for position, _ in self.answers] == [n for _, n in self.answers]


async def tables(admin) -> set[str]:
    cursor = await admin.execute("select tablename from pg_tables where starts_with(tablename, %s)", (VIEW,))
    return {name for (name,) in await cursor.fetchall()}


async def write_on(platform) -> None:
    for _ in range(PAGE // 2):
        await create(platform)
        await asyncio.sleep(0.15)
    await asyncio.Event().wait()  # one page holds no more


async def read_one(reader, entry_id: str) -> None:
    while True:
        answer = await reader.get(f"{ENTRIES}/{entry_id}")
        assert answer.status_code == 200, answer.text
        await asyncio.sleep(0.01)


async def ask_operator(otto, request: str) -> None:
    answer = await otto.post(f"/api/v1/admin/projections/{VIEW}/{request}")
    assert answer.status_code == 202, answer.text


async def test_readers_see_every_entry_of_their_position_across_swaps_drops_and_a_rollback(
    settings, platform, admin, otto, ann, ben
):
    view, lists, reports = OneLane(), Seen(), Seen()

    async def report_on() -> None:
        while True:
            reports.note_rows(await platform.read_models.read(actors.ANN, LONG_REPORT))

    async with AsyncExitStack() as stack:
        await stack.enter_async_context(engine_of(settings, [view, OperatorRequests({VIEW: view})]))
        await create_many(platform, 60)
        entry_id = (await create_entry(ann)).id
        await until_caught_up(admin, [VIEW])
        work: list[Any] = [write_on(platform), lists.read_lists(ann), read_one(ben, entry_id), report_on()]
        tasks = [await stack.enter_async_context(running(each)) for each in work]
        for request, generation in (("rebuilds", 2), ("rebuilds", 3), ("rollbacks", 2), ("rebuilds", 4)):
            await ask_operator(otto, request)
            await until_live(admin, VIEW, generation)
            assert not any(task.done() for task in tasks)
        reports_before = len(reports.answers)
        await until(lambda: _is_longer(reports.answers, reports_before), "a report that saw swaps has ended")
        assert not any(task.done() for task in tasks)
    await lists.require_whole(admin)
    await reports.require_whole(admin)
    assert len({position for position, _ in lists.answers}) > 10


async def _is_longer(answers: list[tuple[int, int]], length: int) -> bool:
    return len(answers) > length


async def test_a_generation_that_a_long_report_reads_is_dropped_after_it_and_holds_nobody_up_before(
    settings, platform, admin
):
    async def is_reading() -> bool:
        return (await admin.execute(REPORTING)).rowcount == 1

    async def is_dropped() -> bool:
        return f"{VIEW}_1_entries" not in await tables(admin)

    view, reports = OneLane(), Seen()
    async with engine_of(settings, [view, OperatorRequests({VIEW: view})]):
        await create_many(platform, 190)
        await until_caught_up(admin, [VIEW])
        late = [LiveReadModels(platform.reader_pool) for _ in range(8)]
        for reader in late:
            await reader.read(actors.ANN, SHORT_QUESTION)  # they ask the same generation the next time
        reporting = asyncio.create_task(platform.read_models.read(actors.ANN, LONG_REPORT))
        await until(is_reading, "the report has begun")
        for generation in (2, 3):
            await rebuild(admin, [view])
            await until_live(admin, VIEW, generation)
        longest = 0.0
        for reader in late:
            await asyncio.sleep(0.2)
            began = time.monotonic()
            rows = await reader.read(actors.ANN, SHORT_QUESTION)
            longest = max(longest, time.monotonic() - began)
            assert rows.generations == {VIEW: 3}
        assert longest < AT_ONCE_SECONDS
        assert not reporting.done()
        reports.note_rows(await reporting)
        await until(is_dropped, "the old generation is gone")
    await reports.require_whole(admin)
