"""Lists of entries: order, pages, filters."""

from itertools import pairwise

import pytest
from httpx import AsyncClient

from tests.builders.requests import ENTRIES, create_entry

pytestmark = pytest.mark.usefixtures("engine")

SORTS = ["created_at", "-created_at", "updated_at", "-updated_at", "name", "-name"]


async def names(client: AsyncClient, **parameters) -> list[str]:
    listed = await client.get(ENTRIES, params=parameters)
    assert listed.status_code == 200, listed.text
    return [item["name"] for item in listed.json()["items"]]


async def pages(client: AsyncClient, **parameters):
    cursor: dict[str, str] = {}
    while True:
        page = (await client.get(ENTRIES, params=parameters | cursor)).json()
        yield page["items"]
        if page["next_cursor"] is None:
            return
        cursor = {"cursor": page["next_cursor"]}


@pytest.fixture
async def eleven(engine, ann: AsyncClient, await_projections):
    """Eleven entries; some share a name, some were changed after later ones were made."""
    made = [await create_entry(ann, name=f"n{number % 4}") for number in range(8)]
    await ann.patch(made[2].url, json={"description": "later"})
    batch = {"entries": [{"name": "n1"}, {"name": "n9"}, {"name": "n0"}]}
    await ann.post(f"{ENTRIES}:batch", json=batch)
    await ann.patch(made[5].url, json={"name": "é"})
    await await_projections()


@pytest.mark.usefixtures("eleven")
@pytest.mark.parametrize("limit", [1, 3, 11, 50])
async def test_pages_hold_every_entry_once_and_in_order(ann: AsyncClient, limit):
    for sort in SORTS:
        items = [item async for page in pages(ann, sort=sort, limit=limit) for item in page]
        column = sort.removeprefix("-")
        values = [(item[column].encode(), item["entry_id"]) for item in items]
        assert len({item["entry_id"] for item in items}) == len(items) == 11, sort
        assert values == sorted(values, reverse=sort.startswith("-")), sort


@pytest.mark.usefixtures("eleven")
async def test_each_page_but_the_last_is_full(ann: AsyncClient):
    assert [len(page) async for page in pages(ann, limit=4)] == [4, 4, 3]
    assert [len(page) async for page in pages(ann, limit=11)] == [11]


@pytest.mark.parametrize("sort", SORTS)
async def test_entries_made_between_two_pages_disturb_nothing(ann: AsyncClient, await_projections, sort):
    before = {(await create_entry(ann, name=f"m{number}")).id for number in range(6)}
    await await_projections()
    seen = []
    async for page in pages(ann, sort=sort, limit=2):
        seen += [item["entry_id"] for item in page]
        await create_entry(ann, name=f"a{len(seen)}")
        await create_entry(ann, name=f"z{len(seen)}")
        await await_projections()
        if len(seen) > 40:
            break
    assert len(seen) == len(set(seen))
    assert before <= set(seen)


@pytest.mark.usefixtures("eleven")
async def test_a_cursor_belongs_to_its_order(ann: AsyncClient):
    cursor = (await ann.get(ENTRIES, params={"limit": 1, "sort": "name"})).json()["next_cursor"]
    for sort in set(SORTS) - {"name"}:
        refused = await ann.get(ENTRIES, params={"sort": sort, "cursor": cursor})
        assert (refused.status_code, refused.json()["type"]) == (400, "urn:varve:problem:invalid-cursor")


async def test_an_empty_list_has_no_next_page(ann: AsyncClient):
    assert (await ann.get(ENTRIES)).json() == {"items": [], "next_cursor": None}


async def test_filters_choose_and_combine(ann: AsyncClient, await_projections):
    await create_entry(ann, name="clay", entity_type="rock", category="geology", tags=["wet", "fine"])
    await create_entry(ann, name="silt", entity_type="rock", category="soil", tags=["wet"])
    await create_entry(ann, name="note", description="about CLAY")
    await await_projections()
    assert await names(ann, entity_type="rock", sort="name") == ["clay", "silt"]
    assert await names(ann, category="soil") == ["silt"]
    assert await names(ann, tag="wet", sort="name") == ["clay", "silt"]
    assert await names(ann, tag="fine") == ["clay"]
    assert await names(ann, tag="fin") == []
    assert await names(ann, text="clay", sort="name") == ["clay", "note"]
    assert await names(ann, tag="wet", category="geology", text="CL") == ["clay"]
    assert await names(ann, tag="wet", category="geology", text="silt") == []


@pytest.mark.parametrize("text", ["%", "_", "\\", "100%", "a_b", "\\%", "'", "%%%"])
async def test_a_wildcard_is_a_plain_character(ann: AsyncClient, await_projections, text):
    await create_entry(ann, name=f"has {text} in it")
    await create_entry(ann, name="has nothing of it, aXb 100")
    await await_projections()
    assert await names(ann, text=text) == [f"has {text} in it"]


async def test_a_range_of_creation_holds_its_begin_and_not_its_end(ann: AsyncClient, await_projections):
    for name in ("one", "two", "three"):
        await create_entry(ann, name=name)
    await await_projections()
    items = (await ann.get(ENTRIES, params={"sort": "created_at"})).json()["items"]
    times = [item["created_at"] for item in items]
    assert all(before < after for before, after in pairwise(times))
    assert await names(ann, created_from=times[1], sort="created_at") == ["two", "three"]
    assert await names(ann, created_before=times[1]) == ["one"]
    assert await names(ann, created_from=times[1], created_before=times[2]) == ["two"]


async def test_a_tag_that_was_taken_away_finds_nothing(ann: AsyncClient, await_projections):
    entry = await create_entry(ann, name="clay", tags=["wet", "fine"])
    await ann.patch(entry.url, json={"tags": ["fine", "dry"]})
    await await_projections()
    assert [await names(ann, tag=tag) for tag in ("wet", "fine", "dry")] == [[], ["clay"], ["clay"]]


async def test_a_deleted_entrys_filters_still_work_among_the_deleted(ann: AsyncClient, await_projections):
    entry = await create_entry(ann, name="clay", tags=["wet"])
    await ann.delete(entry.url)
    await await_projections()
    assert await names(ann, tag="wet") == []
    assert await names(ann, tag="wet", is_active=False) == ["clay"]


async def test_a_page_of_long_entries_has_fewer_and_the_next_one_goes_on(engine, ann: AsyncClient, await_projections):
    for number in range(5):
        await create_entry(ann, name=f"n{number}", description="x" * 450_000)
    await await_projections()
    found = [[item["name"] for item in page] async for page in pages(ann, sort="name", limit=50)]
    assert found == [["n0", "n1", "n2"], ["n3", "n4"]]


async def test_long_attributes_make_a_page_long_as_well(engine, ann: AsyncClient, await_projections):
    entries = [{"name": f"n{number}", "attributes": {"key": "x" * 60_000}} for number in range(18)]
    await ann.post(f"{ENTRIES}:batch", json={"entries": entries})
    await await_projections()
    assert [len(page) async for page in pages(ann, limit=50)] == [17, 1]
