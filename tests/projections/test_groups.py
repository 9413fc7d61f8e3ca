"""A group of stages with one checkpoint: the second one reads what the first has written."""

from collections.abc import Iterable

from commands.knowledge.update_entry import UpdateKnowledgeEntry
from domain.knowledge.entry import EntryChanges
from domain.knowledge.events import KnowledgeEntryCreated, KnowledgeEntryLinked, KnowledgeEntryUpdated
from projections.generations import start_rebuild
from projections.group import GroupProjection, Stage
from projections.parking import retry
from tests.builders import actors
from tests.builders.entries import TARGET_ID, created, linked, updated
from tests.projections.comparing import stored_tables
from tests.projections.engines import engine_of, until, until_caught_up, until_live
from tests.projections.sending import create, send


class Names(Stage):
    """What each entry is called."""

    EVENTS = frozenset({KnowledgeEntryCreated, KnowledgeEntryUpdated})
    TABLES = ("names",)
    DDL = "create table {names} (tenant text, entry_id uuid, name text not null, primary key (tenant, entry_id))"
    INDEXES = "create index on {names} (tenant, name)"

    async def apply(self, connection, generation, events):
        names = {(event.tenant, event.event.entry_id): event.event.name for event in events}
        await connection.cursor().executemany(
            f"insert into {generation.table('names')} values (%s, %s, %s) "
            "on conflict (tenant, entry_id) do update set name = excluded.name",
            [(*key, names[key]) for key in sorted(names)],
        )


class Citations(Stage):
    """Which entry names which, by the name that the other one has now; fails at names that are `bad`."""

    EVENTS = frozenset({KnowledgeEntryLinked, KnowledgeEntryUpdated})
    TABLES = ("citations",)
    DDL = """create table {citations} (
        tenant text, entry_id uuid, target_id uuid, target_name text not null, primary key (tenant, entry_id, target_id)
    )"""

    def __init__(self, bad: Iterable[str]) -> None:
        self.bad = set(bad)

    async def apply(self, connection, generation, events):
        names, citations = generation.table("names"), generation.table("citations")
        for recorded in events:
            match recorded.event:
                case KnowledgeEntryLinked(entry_id=entry_id, target_id=target_id):
                    await connection.execute(
                        f"insert into {citations} select tenant, %s, entry_id, name from {names} "
                        "where tenant = %s and entry_id = %s",
                        (entry_id, recorded.tenant, target_id),
                    )
                case KnowledgeEntryUpdated(name=name) if name in self.bad:
                    raise ValueError(f"cannot apply {name}")
                case KnowledgeEntryUpdated(entry_id=entry_id):
                    await connection.execute(
                        f"update {citations} c set target_name = n.name from {names} n where c.tenant = %s "
                        "and c.target_id = %s and (n.tenant, n.entry_id) = (c.tenant, c.target_id)",
                        (recorded.tenant, entry_id),
                    )


def cited(*bad: str) -> GroupProjection:
    class Cited(GroupProjection):
        NAME = "cited"
        STAGES = (Names(), Citations(bad))
        PARTITIONED_BY = "tenant"  # the names of other streams are read

    return Cited()


def test_a_group_has_the_events_tables_and_sql_of_its_stages():
    group = cited()
    assert group.EVENTS == Names.EVENTS | Citations.EVENTS
    assert group.TABLES == ("names", "citations")
    assert [Names.DDL in group.ddl(), Citations.DDL in group.ddl(), Names.INDEXES in group.indexes()] == [True] * 3


async def test_a_stage_has_the_rows_of_the_one_before_it(given):
    everywhere = [created(), created(TARGET_ID, name="Clay"), linked(), updated(TARGET_ID, changed=(), name="Silt")]
    group = given(cited(), *everywhere, *(("umbra", event) for event in everywhere[:3]))
    await group.then_rows(
        "citations",
        {"tenant": "acme", "target_id": TARGET_ID, "target_name": "Silt"},
        {"tenant": "umbra", "target_id": TARGET_ID, "target_name": "Clay"},
    )


async def test_an_event_that_fails_in_one_stage_is_parked_for_all_and_applied_by_all_later(
    settings, platform, admin, projector_pool
):
    group = cited("Bad")

    async def names(generation: int = 1) -> set[str]:
        return {row["name"] for row in (await stored_tables(admin, group, generation))["names"]}

    async def is_parked() -> bool:
        cursor = await admin.execute("select count(*), count(error) from varve.parked where projection = 'cited'")
        return await cursor.fetchone() == (2, 1)

    async def is_applied() -> bool:
        return await names() == {"Good", "Ash"}

    clay = await create(platform, "Clay")
    async with engine_of(settings, [group]):
        for name in ("Bad", "Good"):
            await send(platform, UpdateKnowledgeEntry(entry_id=clay, changes=EntryChanges(name=name)))
        await create(platform, "Ash", actors.EVE)
        await until(is_parked, "the event and the one behind it are parked")
        await until_caught_up(admin, ["cited"])
        assert await names() == {"Clay", "Ash"}
        group.STAGES[1].bad.clear()
        async with projector_pool.connection() as connection:
            await retry(connection, "cited", None)
        await until(is_applied, "both are applied")
        async with projector_pool.connection() as connection:
            await start_rebuild(connection, group)
        await until_live(admin, "cited", 2)
    assert await names(2) == {"Good", "Ash"}
