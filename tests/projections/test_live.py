"""What is read from live read models: rows, and the position that they are of."""

import asyncio
from dataclasses import replace
from uuid import uuid4

import pytest

from domain.knowledge.errors import EntryNotFound
from domain.shared.access import Actor, Role
from eventstore.stream_reader import TenantStreams
from projections.live import LiveReadModels
from queries.knowledge.entry_list import GetEntry, get_entry
from queries.message import Asking
from queries.ports import Question
from tests.projections.engines import until
from varve.bootstrap import event_types
from varve.pools import open_pool

LIST = "knowledge_entry_list"
TAGS = Question((LIST,), f"select tag from {{{LIST}.tags}}")
SLOWLY = Question(
    (LIST,), f"select tag from (select pg_sleep(0.5)) slept left join {{{LIST}.tags}} on true where tag > ''"
)
PLANS = "select generic_plans, custom_plans from pg_prepared_statements where statement like '%reading_by_key%'"
SLEEPS = "select from pg_stat_activity where wait_event = 'PgSleep'"


async def test_rows_written_after_the_position_was_read_are_not_shown(settings, admin):
    async def reader_sleeps() -> bool:
        return await (await admin.execute(SLEEPS)).fetchone() is not None

    ann = Actor(tenant="acme", user="ann", roles=frozenset({Role.EDITOR}))
    async with open_pool(settings, "varve_reader", 1) as pool:
        models = LiveReadModels(pool)
        before = await models.read(ann, TAGS)
        reading = asyncio.create_task(models.read(ann, SLOWLY))
        await until(reader_sleeps, "the reader has read the position and has the rows before it")
        async with admin.transaction():
            await admin.execute("update varve.checkpoints set position = position + 1 where projection = %s", (LIST,))
            await admin.execute(f"insert into read_models.{LIST}_1_tags values ('acme', 'clay', gen_random_uuid())")
        during = await reading
        after = await models.read(ann, TAGS)
    assert (during.rows, during.position) == (before.rows, before.position) == ([], 0)
    assert (after.rows, after.position) == ([{"tag": "clay"}], 1)


@pytest.mark.parametrize("question", [TAGS, replace(TAGS, is_by_key=True)], ids=["any", "by key"])
async def test_each_question_sees_its_own_tenant_alone_on_a_connection_that_served_another(settings, admin, question):
    ann, eve = (Actor(tenant=name, user="x", roles=frozenset({Role.EDITOR})) for name in ("acme", "umbra"))
    await admin.execute(f"insert into read_models.{LIST}_1_tags values ('acme', 'clay', gen_random_uuid())")
    async with open_pool(settings, "varve_reader", 1) as pool:
        models = LiveReadModels(pool)
        seen = [(await models.read(actor, question)).rows for actor in (ann, eve, ann)]
        async with pool.connection() as connection:
            left = await (await connection.execute("select current_setting('varve.tenant', true)")).fetchone()
    assert seen == [[{"tag": "clay"}], [], [{"tag": "clay"}]]
    assert left in {("",), (None,)}


async def test_parked_events_are_counted_alike_by_key_and_for_the_own_tenant_alone(settings, admin):
    ann, eve = (Actor(tenant=name, user="x", roles=frozenset({Role.EDITOR})) for name in ("acme", "umbra"))
    await admin.execute(
        "insert into varve.parked (projection, generation, position, tenant, partition) values (%s, 1, 1, 'acme', 'x')",
        (LIST,),
    )
    async with open_pool(settings, "varve_reader", 1) as pool:
        models = LiveReadModels(pool)
        for question in (TAGS, replace(TAGS, is_by_key=True)):
            assert [(await models.read(actor, question)).parked for actor in (ann, eve)] == [1, 0]


@pytest.mark.parametrize("together", [1, 3], ids=["alone", "together"])
async def test_a_question_by_key_is_planned_for_all_keys(settings, together):
    """Planned anew each time, it takes several times as long."""
    ann = Actor(tenant="acme", user="ann", roles=frozenset({Role.EDITOR}))
    async with open_pool(settings, "varve_reader", 1) as pool:
        asking = Asking(ann, LiveReadModels(pool), TenantStreams(pool, event_types()))
        for _ in range(20):
            questions = [get_entry(GetEntry(entry_id=uuid4()), asking) for _ in range(together)]
            found = await asyncio.gather(*questions, return_exceptions=True)
            assert [type(each) for each in found] == [EntryNotFound] * together
        async with pool.connection() as connection:
            plans = await (await connection.execute(PLANS)).fetchall()
    assert len(plans) == min(together, 2)
    assert all(generic > custom for generic, custom in plans)


async def test_questions_by_key_that_come_together_are_asked_together_each_with_its_own_rights(settings, admin):
    """Of users of one tenant; another tenant's are asked apart."""
    ids = [uuid4() for _ in range(6)]
    for number, entry_id in enumerate(ids):
        await admin.execute(
            f"insert into read_models.{LIST}_1_entries values ('acme', %s, %s, %s, 'A name', '', 'note', null, '{{}}',"
            " '{}', '[]', true, %s, 1, now(), now())",
            (entry_id, "ann" if number % 2 else "bob", "private" if number < 4 else "tenant", number + 1),
        )
    async with open_pool(settings, "varve_reader", 4) as pool:
        models = LiveReadModels(pool)
        streams = TenantStreams(pool, event_types())

        async def versions(actor: Actor) -> list[int | None]:
            asking = Asking(actor, models, streams)
            answers = await asyncio.gather(
                *(get_entry(GetEntry(entry_id=entry_id), asking) for entry_id in (*ids, uuid4())),
                return_exceptions=True,
            )
            return [None if isinstance(answer, EntryNotFound) else answer.value.version for answer in answers]

        ann, bob = (Actor(tenant="acme", user=name, roles=frozenset({Role.EDITOR})) for name in ("ann", "bob"))
        chief = Actor(tenant="acme", user="chief", roles=frozenset({Role.ADMIN}))
        eve = Actor(tenant="umbra", user="ann", roles=frozenset({Role.ADMIN}))
        await versions(chief)  # from now on it is known which generation is read
        before = pool.get_stats()["requests_num"]
        seen = await asyncio.gather(*(versions(actor) for actor in (ann, bob, chief, eve)))
        asked = pool.get_stats()["requests_num"] - before
    assert seen == [
        [None, 2, None, 4, 5, 6, None],
        [1, None, 3, None, 5, 6, None],
        [1, 2, 3, 4, 5, 6, None],
        [None] * 7,
    ]
    assert asked <= 8, "28 questions of two tenants, with two conditions"
