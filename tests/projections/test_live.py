"""What is read from live read models: rows, and the position that they are of."""

import asyncio

from domain.shared.access import Actor, Role
from projections.live import LiveReadModels
from queries.ports import Question
from tests.projections.engines import until
from varve.pools import open_pool

LIST = "knowledge_entry_list"
TAGS = Question((LIST,), f"select tag from {{{LIST}.tags}}")
TAGS_TABLE = f"read_models.{LIST}_1_tags"
WAITS = "select from pg_locks where not granted and relation = %s::regclass"


async def test_rows_written_after_the_position_was_read_are_not_shown(settings, admin):
    async def reader_waits() -> bool:
        return await (await admin.execute(WAITS, (TAGS_TABLE,))).fetchone() is not None

    ann = Actor(tenant="acme", user="ann", roles=frozenset({Role.EDITOR}))
    async with open_pool(settings, "varve_reader", 1) as pool:
        models = LiveReadModels(pool)
        before = await models.read(ann, TAGS)
        async with admin.transaction():
            await admin.execute(f"lock table {TAGS_TABLE} in access exclusive mode")
            reading = asyncio.create_task(models.read(ann, TAGS))
            await until(reader_waits, "the reader has read the position and waits for the rows")
            await admin.execute("update varve.checkpoints set position = position + 1 where projection = %s", (LIST,))
            await admin.execute(f"insert into {TAGS_TABLE} values ('acme', 'clay', gen_random_uuid())")
        during = await reading
        after = await models.read(ann, TAGS)
    assert (during.rows, during.position) == (before.rows, before.position) == ([], 0)
    assert (after.rows, after.position) == ([{"tag": "clay"}], 1)
