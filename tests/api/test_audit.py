"""Every command leaves an audit row, refused ones too; none holds a long text."""

import pytest
from httpx import AsyncClient
from psycopg.rows import namedtuple_row

from tests.builders.actors import PEOPLE
from tests.builders.entries import NOBODYS_ID
from tests.builders.requests import ENTRIES, create_entry

LONG = "a long text that belongs to the log alone " * 20


@pytest.fixture
def audit(admin):
    async def rows():
        cursor = admin.cursor(row_factory=namedtuple_row)
        await cursor.execute("select *, cast(c as text) as whole from varve.commands c order by executed_at")
        return await cursor.fetchall()

    return rows


async def test_an_accepted_command_is_recorded_with_who_what_and_where(ann: AsyncClient, audit):
    created = await ann.post(ENTRIES, json={"name": "Varve"})
    (row,) = await audit()
    assert (row.tenant, row.user_id, row.command_type) == ("acme", "ann", "CreateKnowledgeEntry")
    assert (row.status, row.error, row.position) == ("accepted", None, 1)
    assert str(row.id) == created.headers["X-Command-Id"]
    assert row.outcome["aggregate_id"] == created.json()["aggregate_id"]
    assert row.data["entry"]["name"] == "Varve"
    assert row.metadata["correlation_id"] == created.headers["X-Correlation-Id"]


async def test_a_command_that_changed_nothing_is_accepted(ann: AsyncClient, audit):
    entry = await create_entry(ann)
    await ann.patch(entry.url, json={"name": "Sediment"})
    assert [(row.command_type, row.status) for row in await audit()][1:] == [("UpdateKnowledgeEntry", "accepted")]


@pytest.mark.parametrize(
    ("who", "method", "path", "body", "code"),
    [
        ("ann", "PATCH", "", {"name": "x"}, "EntryNotFound"),
        ("ann", "POST", "/restore", None, "EntryNotFound"),
        ("rita", "PATCH", "", {"name": "x"}, "PermissionDenied"),
        ("ann", "POST", "/links", {"target_id": str(NOBODYS_ID), "relation": "is"}, "EntryCannotLinkToItself"),
    ],
)
async def test_a_refused_command_is_recorded_with_the_reason(client_of, audit, admin, who, method, path, body, code):
    client = client_of(PEOPLE[who])
    await client.request(method, f"{ENTRIES}/{NOBODYS_ID}{path}", json=body)
    (row,) = await audit()
    assert (row.status, row.error["code"], row.user_id) == ("refused", code, who)
    assert row.aggregate_id == str(NOBODYS_ID)
    assert (await (await admin.execute("select count(*) from varve.events")).fetchone()) == (0,)


async def test_a_version_mismatch_is_recorded(ann: AsyncClient, audit):
    entry = await create_entry(ann)
    await ann.patch(entry.url, json={"name": "x"}, headers={"If-Match": '"5"'})
    row = (await audit())[-1]
    assert (row.status, row.error["code"], row.error["data"]) == (
        "refused",
        "VersionMismatch",
        {"expected": 5, "actual": 1},
    )


async def test_a_reused_key_is_recorded(ann: AsyncClient, audit):
    key = {"Idempotency-Key": "k"}
    await ann.post(ENTRIES, json={"name": "one"}, headers=key)
    await ann.post(ENTRIES, json={"name": "two"}, headers=key)
    row = (await audit())[-1]
    assert (row.status, row.error["code"]) == ("refused", "IdempotencyKeyReused")


async def test_a_bug_is_recorded_as_failed_without_its_inside(ann: AsyncClient, api, audit, monkeypatch):
    def break_down(*_):
        raise RuntimeError("a secret of the inside")

    monkeypatch.setattr("commands.knowledge.create_entry.decide_create", break_down)
    assert (await ann.post(ENTRIES, json={"name": "Varve"})).status_code == 500
    (row,) = await audit()
    assert (row.status, row.error["code"]) == ("failed", "RuntimeError")
    assert "secret" not in row.whole


@pytest.mark.parametrize(
    "content",
    [
        {"description": LONG},
        {"attributes": {"note": LONG}},
        {"attributes": {"deep": [{"note": LONG}]}},
        {"attributes": {LONG: 1}},
    ],
    ids=["description", "attribute", "deep", "key"],
)
async def test_no_row_holds_a_long_text(ann: AsyncClient, audit, content):
    entry = await create_entry(ann, **content)
    await ann.patch(entry.url, json=content)
    await ann.post(f"{ENTRIES}:batch", json={"entries": [{"name": "x"} | content]})
    await ann.patch(f"{ENTRIES}/{NOBODYS_ID}", json=content)
    rows = await audit()
    assert len(rows) == 4
    for row in rows:
        assert LONG[:300] not in row.whole


async def test_a_row_of_a_large_batch_is_small(ann: AsyncClient, audit):
    await ann.post(f"{ENTRIES}:batch", json={"entries": [{"name": "x", "tags": ["a", "b"]}] * 500})
    (row,) = await audit()
    assert len(str(row.data)) < 1000
