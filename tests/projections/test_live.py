"""What is read from live read models: rows, and the position that they are of."""

import asyncio

from domain.shared.access import Actor, Role
from projections.live import LiveReadModels
from queries.ports import Question
from tests.projections.engines import until
from varve.pools import open_pool

LIST = "knowledge_entry_list"
TAGS = Question((LIST,), f"select tag from {{{LIST}.tags}}")
SLOWLY = Question(
    (LIST,), f"select tag from (select pg_sleep(0.5)) slept left join {{{LIST}.tags}} on true where tag > ''"
)
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


async def test_each_question_sees_its_own_tenant_alone_on_a_connection_that_served_another(settings, admin):
    ann, eve = (Actor(tenant=name, user="x", roles=frozenset({Role.EDITOR})) for name in ("acme", "umbra"))
    await admin.execute(f"insert into read_models.{LIST}_1_tags values ('acme', 'clay', gen_random_uuid())")
    async with open_pool(settings, "varve_reader", 1) as pool:
        models = LiveReadModels(pool)
        seen = [(await models.read(actor, TAGS)).rows for actor in (ann, eve, ann)]
        async with pool.connection() as connection:
            left = await (await connection.execute("select current_setting('varve.tenant', true)")).fetchone()
    assert seen == [[{"tag": "clay"}], [], [{"tag": "clay"}]]
    assert left in {("",), (None,)}
