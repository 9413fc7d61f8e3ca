"""A sample of the searches is kept: who, when, how long and how many, never what was asked, and never in the way."""

from datetime import UTC, datetime

import pytest
from psycopg.errors import InsufficientPrivilege

from queries.search.message import Search
from queries.search.records import CompletedSearch
from tests.builders.requests import create_entry
from tests.projections.engines import until
from varve.pools import open_pool
from workers.search_records import SampledSearches, SearchRecordWriter

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)
SEARCH = CompletedSearch("acme", Search(q="a private question"), 0.25, 3)


@pytest.fixture
def setting_overrides():
    return {"search_record_rate": 1.0}


def sampled(rate=1.0, chances=(), most=10_000, key=b"a key"):
    """Return searches of which as many are noted as `chances`, or the certainty of 0, say."""
    chances = iter(chances)
    return SampledSearches(rate, key=key, now=lambda: NOON, chance=lambda: next(chances, 0.0), most=most)


def test_only_a_sample_is_noted():
    searches = sampled(0.25, chances=[0.0, 0.24, 0.25, 0.99])
    for _ in range(4):
        searches.note(SEARCH)
    assert len(searches.take(10)) == 2


def test_a_rate_of_nothing_notes_nothing():
    searches = sampled(0.0)
    searches.note(SEARCH)
    assert searches.take(10) == []


def test_what_has_no_room_is_dropped():
    searches = sampled(most=2)
    for _ in range(5):
        searches.note(SEARCH)
    assert len(searches.take(10)) == 2
    searches.note(SEARCH)
    assert len(searches.take(10)) == 1


def test_equal_questions_of_a_tenant_are_equal_and_those_of_others_are_not():
    def hash_of(tenant="acme", query=SEARCH.query, key=b"a key"):
        searches = sampled(key=key)
        searches.note(CompletedSearch(tenant, query, 0.1, 1))
        ((_, _, query_hash, *_),) = searches.take(1)
        return query_hash

    hashes = {
        hash_of(),
        hash_of(),
        hash_of(tenant="umbra"),
        hash_of(query=Search(q="another")),
        hash_of(key=b"another key"),
    }
    assert len(hashes) == 4
    assert all(len(each) == 32 for each in hashes)


async def test_what_was_noted_is_written(settings, admin):
    searches = sampled(0.5)
    for _ in range(1_500):
        searches.note(SEARCH)
    async with open_pool(settings, "varve_writer", 1) as pool:
        await SearchRecordWriter(searches, pool).write()
    cursor = await admin.execute(
        "select distinct tenant, searched_at, mode, milliseconds, hits, is_cached, sample_rate "
        "from varve.search_records"
    )
    assert await cursor.fetchall() == [("acme", NOON, "hybrid", 250.0, 3, False, 0.5)]
    assert await (await admin.execute("select count(*) from varve.search_records")).fetchone() == (1_500,)


async def test_what_cannot_be_written_is_dropped_and_the_next_is_not(settings, admin):
    searches = sampled()
    searches.note(SEARCH)
    async with open_pool(settings, "varve_writer", 1) as pool:
        await admin.execute("alter table varve.search_records rename to elsewhere")
        await SearchRecordWriter(searches, pool).write()
        await admin.execute("alter table varve.elsewhere rename to search_records")
        searches.note(SEARCH)
        await SearchRecordWriter(searches, pool).write()
    assert await (await admin.execute("select count(*) from varve.search_records")).fetchone() == (1,)


async def test_a_search_over_http_leaves_a_record_without_its_words(ann, admin, engine, await_projections):
    await create_entry(ann, description="clay and silt")
    await await_projections("search_text")
    answer = await ann.get("/api/v1/search", params={"q": "clay", "mode": "text"})
    assert len(answer.json()["hits"]) == 1

    async def is_written():
        return (await (await admin.execute("select count(*) from varve.search_records")).fetchone())[0]

    await until(is_written, "a record")
    cursor = await admin.execute("select tenant, mode, hits, is_cached, to_jsonb(r)::text from varve.search_records r")
    ((tenant, mode, hits, is_cached, everything),) = await cursor.fetchall()
    assert (tenant, mode, hits, is_cached) == ("acme", "text", 1, False)
    assert "clay" not in everything


@pytest.mark.parametrize("role", ["varve_writer", "varve_reader"])
@pytest.mark.parametrize(
    "statement",
    [
        "select from varve.search_records",
        "delete from varve.search_records",
        "insert into varve.search_records (tenant) values ('acme')",
    ],
)
async def test_an_api_process_can_neither_read_nor_change_records(settings, role, statement):
    async with open_pool(settings, role, 1) as pool, pool.connection() as connection:
        with pytest.raises(InsufficientPrivilege):
            await connection.execute(statement)


async def test_the_reader_role_cannot_add_records(settings):
    async with open_pool(settings, "varve_reader", 1) as pool, pool.connection() as connection:
        with pytest.raises(InsufficientPrivilege):
            await connection.execute("select varve.note_searches('{}', '{}', '{}', '{}', '{}', '{}', '{}', 1)")
