import pytest
from httpx import AsyncClient

from domain.knowledge.entry import ENTRY
from tests.api.problem import require_problem
from tests.builders.appends import append_of
from tests.builders.entries import ENTRY_ID, NOBODYS_ID, TARGET_ID, created, linked
from tests.builders.requests import ENTRIES, create_entry, read_after

pytestmark = pytest.mark.usefixtures("engine")

WHOLE = {
    "name": "Varve",
    "description": "A yearly layer of sediment.",
    "entity_type": "concept",
    "category": "geology",
    "tags": ["clay", "silt"],
    "attributes": {"years": [1, 2], "deep": {"er": None}},
    "visibility": "private",
}


class TestCreating:
    async def test_answers_where_the_entry_is_and_what_to_wait_for(self, ann: AsyncClient):
        created = await ann.post(ENTRIES, json=WHOLE)
        body = created.json()
        assert created.status_code == 201
        assert created.headers["Location"] == f"{ENTRIES}/{body['aggregate_id']}"
        assert created.headers["ETag"] == '"1"'
        assert created.headers["X-Position"] == body["position"]
        assert created.headers["X-Command-Id"] == body["command_id"]
        assert body["version"] == 1

    async def test_stores_every_field(self, ann: AsyncClient):
        created = await ann.post(ENTRIES, json=WHOLE)
        read = await read_after(ann, created.headers["Location"], created)
        assert read.status_code == 200
        assert read.headers["ETag"] == '"1"'
        entry = read.json()
        assert {field: entry[field] for field in WHOLE} == WHOLE
        assert (entry["owner"], entry["links"], entry["is_active"], entry["version"]) == ("ann", [], True, 1)
        assert entry["created_at"] == entry["updated_at"]

    async def test_a_batch_creates_all_of_them_in_order(self, ann: AsyncClient):
        created = await ann.post(f"{ENTRIES}:batch", json={"entries": [{"name": "one"}, {"name": "two"}]})
        assert created.status_code == 201, created.text
        names = [
            (await read_after(ann, f"{ENTRIES}/{entry_id}", created)).json()["name"]
            for entry_id in created.json()["entry_ids"]
        ]
        assert names == ["one", "two"]

    async def test_a_batch_with_one_bad_entry_creates_none(self, ann: AsyncClient):
        refused = await ann.post(f"{ENTRIES}:batch", json={"entries": [{"name": "one"}, {"name": ""}]})
        require_problem(refused, 422, "invalid-request")
        assert (await ann.get(ENTRIES)).json()["items"] == []

    @pytest.mark.parametrize("size", [0, 501])
    async def test_a_batch_has_one_to_500_entries(self, ann: AsyncClient, size):
        refused = await ann.post(f"{ENTRIES}:batch", json={"entries": [{"name": "one"}] * size})
        require_problem(refused, 422, "invalid-request")

    async def test_the_largest_batch_is_created(self, ann: AsyncClient):
        created = await ann.post(f"{ENTRIES}:batch", json={"entries": [{"name": "one"}] * 500})
        assert len(set(created.json()["entry_ids"])) == 500


class TestUpdating:
    async def test_changes_the_named_fields_alone(self, ann: AsyncClient):
        entry = await create_entry(ann, **WHOLE)
        updated = await ann.patch(entry.url, json={"name": "Layer", "category": None})
        assert (updated.status_code, updated.json()["version"], updated.headers["ETag"]) == (200, 2, '"2"')
        read = (await read_after(ann, entry.url, updated)).json()
        assert {field: read[field] for field in WHOLE} == WHOLE | {"name": "Layer", "category": None}
        assert read["updated_at"] > read["created_at"]

    async def test_that_changes_nothing_appends_nothing(self, ann: AsyncClient):
        entry = await create_entry(ann, name="Varve")
        assert (await ann.patch(entry.url, json={"name": "Varve"})).json()["version"] == 1
        assert len((await ann.get(f"{entry.url}/history")).json()["items"]) == 1


class TestDeletingAndRestoring:
    async def test_a_deleted_entry_leaves_the_list_and_keeps_its_history(self, ann: AsyncClient):
        entry = await create_entry(ann)
        deleted = await ann.delete(entry.url)
        assert (deleted.status_code, deleted.content, deleted.headers["ETag"]) == (204, b"", '"2"')
        assert (await read_after(ann, ENTRIES, deleted)).json()["items"] == []
        assert (await ann.get(entry.url)).json()["is_active"] is False
        assert [item["event_type"] for item in (await ann.get(f"{entry.url}/history")).json()["items"]] == [
            "KnowledgeEntryCreated",
            "KnowledgeEntryDeleted",
        ]

    async def test_deleted_entries_can_be_listed(self, ann: AsyncClient):
        entry = await create_entry(ann)
        deleted = await ann.delete(entry.url)
        listed = await read_after(ann, ENTRIES, deleted, is_active=False)
        assert [item["entry_id"] for item in listed.json()["items"]] == [entry.id]

    async def test_deleting_twice_is_one_deletion(self, ann: AsyncClient):
        entry = await create_entry(ann)
        await ann.delete(entry.url)
        again = await ann.delete(entry.url)
        assert (again.status_code, again.headers["ETag"]) == (204, '"2"')

    async def test_a_restored_entry_is_listed_again(self, ann: AsyncClient):
        entry = await create_entry(ann)
        await ann.delete(entry.url)
        restored = await ann.post(f"{entry.url}/restore")
        assert (restored.status_code, restored.json()["version"]) == (200, 3)
        assert len((await read_after(ann, ENTRIES, restored)).json()["items"]) == 1

    async def test_an_active_entry_can_not_be_restored(self, ann: AsyncClient):
        entry = await create_entry(ann)
        require_problem(await ann.post(f"{entry.url}/restore"), 409, "entry-is-not-deleted")

    async def test_a_deleted_entry_can_not_be_changed(self, ann: AsyncClient):
        entry = await create_entry(ann)
        await ann.delete(entry.url)
        require_problem(await ann.patch(entry.url, json={"name": "Layer"}), 409, "entry-is-deleted")


class TestLinking:
    async def test_links_are_added_and_taken_away(self, ann: AsyncClient):
        entry, target = await create_entry(ann), await create_entry(ann)
        link = {"target_id": target.id, "relation": "explains"}
        linked = await ann.post(f"{entry.url}/links", json=link)
        assert (linked.status_code, linked.json()["version"]) == (201, 2)
        assert (await read_after(ann, entry.url, linked)).json()["links"] == [link]
        unlinked = await ann.delete(f"{entry.url}/links", params=link)
        assert unlinked.status_code == 204
        assert (await read_after(ann, entry.url, unlinked)).json()["links"] == []

    async def test_a_link_that_is_not_there_can_not_be_taken_away(self, ann: AsyncClient):
        entry = await create_entry(ann)
        missing = {"target_id": str(NOBODYS_ID), "relation": "explains"}
        require_problem(await ann.delete(f"{entry.url}/links", params=missing), 404, "link-not-found")

    async def test_a_link_to_nothing_is_refused(self, ann: AsyncClient):
        entry = await create_entry(ann)
        refused = await ann.post(f"{entry.url}/links", json={"target_id": str(NOBODYS_ID), "relation": "explains"})
        require_problem(refused, 404, "entry-not-found")

    async def test_a_link_to_itself_is_refused(self, ann: AsyncClient):
        entry = await create_entry(ann)
        refused = await ann.post(f"{entry.url}/links", json={"target_id": entry.id, "relation": "explains"})
        require_problem(refused, 422, "entry-cannot-link-to-itself")

    async def test_an_entry_that_has_a_thousand_links_takes_no_more(self, ann: AsyncClient, platform):
        target = await create_entry(ann)
        history = [created(), *(linked(f"relation {number}") for number in range(1000))]
        await platform.commands._appender.append(append_of({ENTRY.stream(ENTRY_ID): history}))
        links = f"{ENTRIES}/{ENTRY_ID}/links"
        link = {"target_id": target.id, "relation": "explains"}
        refused = await ann.post(links, json=link)
        require_problem(refused, 409, "entry-has-too-many-links")
        assert refused.json()["maximum"] == 1000
        await ann.delete(links, params={"target_id": str(TARGET_ID), "relation": "relation 7"})
        assert (await ann.post(links, json=link)).status_code == 201


class TestHistory:
    async def test_names_who_did_what(self, ann: AsyncClient, ben: AsyncClient):
        entry = await create_entry(ann)
        await ben.patch(entry.url, json={"name": "Layer"})
        history = (await ann.get(f"{entry.url}/history")).json()["items"]
        assert [(item["version"], item["event_type"], item["actor"]) for item in history] == [
            (1, "KnowledgeEntryCreated", "ann"),
            (2, "KnowledgeEntryUpdated", "ben"),
        ]
        assert history[1]["data"]["changed"] == ["name"]

    async def test_carries_the_correlation_of_the_request(self, ann: AsyncClient):
        correlation = "0190a000-0000-7000-8000-00000000c0de"
        created = await ann.post(ENTRIES, json={"name": "Varve"}, headers={"X-Correlation-Id": correlation})
        assert created.headers["X-Correlation-Id"] == correlation
        history = (await ann.get(f"{created.headers['Location']}/history")).json()["items"]
        assert history[0]["correlation_id"] == correlation

    async def test_shows_the_state_at_a_version(self, ann: AsyncClient):
        entry = await create_entry(ann, name="one")
        await ann.patch(entry.url, json={"name": "two"})
        states = [(await ann.get(f"{entry.url}/state", params={"version": version})).json() for version in (1, 2, 9)]
        assert [(state["version"], state["state"]["name"]) for state in states] == [(1, "one"), (2, "two"), (2, "two")]

    async def test_shows_the_state_at_a_time(self, ann: AsyncClient):
        entry = await create_entry(ann, name="one")
        await ann.patch(entry.url, json={"name": "two"})
        times = [item["recorded_at"] for item in (await ann.get(f"{entry.url}/history")).json()["items"]]
        states = [(await ann.get(f"{entry.url}/state", params={"at": time})).json()["state"] for time in times]
        assert [state["name"] for state in states] == ["one", "two"]

    async def test_shows_no_state_before_the_first_event(self, ann: AsyncClient):
        entry = await create_entry(ann)
        state = await ann.get(f"{entry.url}/state", params={"at": "2000-01-01T00:00:00Z"})
        assert state.json() == {"version": 0, "state": None}


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", "", None),
        ("PATCH", "", {"name": "Layer"}),
        ("DELETE", "", None),
        ("POST", "/restore", None),
        ("POST", "/links", {"target_id": str(NOBODYS_ID), "relation": "explains"}),
        ("GET", "/history", None),
        ("GET", "/state", None),
    ],
)
async def test_what_is_not_there_is_not_found(ann: AsyncClient, method, path, body):
    other_id = "0190a000-0000-7000-8000-00000000beef"
    answer = await ann.request(method, f"{ENTRIES}/{other_id}{path}", json=body)
    require_problem(answer, 404, "entry-not-found")
    assert answer.json()["entry_id"] == other_id
