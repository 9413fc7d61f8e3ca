"""Idempotency-Key: what is remembered, what is not, and for whom."""

import asyncio

import pytest
from httpx import AsyncClient

from domain.shared.access import Role
from tests.api.problem import require_problem
from tests.builders.actors import actor
from tests.builders.entries import NOBODYS_ID
from tests.builders.requests import ENTRIES, create_entry
from tests.fixtures.http import ClientOf

KEY = {"Idempotency-Key": "one-and-only"}
VARVE = {"name": "Varve"}


@pytest.fixture
def count_events(admin):
    async def count():
        return (await (await admin.execute("select count(*) from varve.events")).fetchone())[0]

    return count


class TestARepeatedRequest:
    async def test_gets_the_first_answer_and_has_no_effect(self, ann: AsyncClient, count_events):
        first = await ann.post(ENTRIES, json=VARVE, headers=KEY)
        again = await ann.post(ENTRIES, json=VARVE, headers=KEY)
        assert (again.status_code, again.json()) == (201, first.json())
        for header in ("Location", "ETag", "X-Position", "X-Command-Id"):
            assert again.headers[header] == first.headers[header]
        assert await count_events() == 1

    async def test_says_that_it_is_repeated(self, ann: AsyncClient):
        first = await ann.post(ENTRIES, json=VARVE, headers=KEY)
        again = await ann.post(ENTRIES, json=VARVE, headers=KEY)
        assert "Idempotency-Replayed" not in first.headers
        assert again.headers["Idempotency-Replayed"] == "true"

    async def test_leaves_no_second_audit_row(self, ann: AsyncClient, admin):
        for _ in range(3):
            await ann.post(ENTRIES, json=VARVE, headers=KEY)
        rows = await (await admin.execute("select count(*) from varve.commands")).fetchone()
        assert rows == (1,)

    async def test_gets_the_first_answer_after_the_entry_has_moved_on(self, ann: AsyncClient):
        entry = await create_entry(ann)
        first = await ann.patch(entry.url, json=VARVE, headers=KEY)
        await ann.patch(entry.url, json={"name": "Layer"})
        again = await ann.patch(entry.url, json=VARVE, headers=KEY)
        assert again.json() == first.json()
        assert (await ann.get(f"{entry.url}/state")).json()["state"]["name"] == "Layer"

    async def test_of_a_batch_gets_the_same_ids(self, ann: AsyncClient, count_events):
        batch = {"entries": [VARVE, VARVE]}
        first = await ann.post(f"{ENTRIES}:batch", json=batch, headers=KEY)
        again = await ann.post(f"{ENTRIES}:batch", json=batch, headers=KEY)
        assert (again.status_code, again.json()) == (201, first.json())
        assert await count_events() == 2

    @pytest.mark.parametrize("path", ["", ":batch"])
    async def test_at_the_same_time_has_one_effect_and_one_answer(self, ann: AsyncClient, count_events, path):
        body = {"entries": [VARVE]} if path else VARVE
        answers = await asyncio.gather(
            *(ann.post(f"{ENTRIES}{path}", json=body, headers=KEY) for _ in range(8)),
        )
        assert {answer.status_code for answer in answers} == {201}
        assert all(answer.json() == answers[0].json() for answer in answers)
        assert await count_events() == 1

    async def test_at_the_same_time_is_refused_alike(self, ann: AsyncClient):
        entry = await create_entry(ann)
        answers = await asyncio.gather(*(ann.post(f"{entry.url}/restore", headers=KEY) for _ in range(8)))
        for answer in answers:
            require_problem(answer, 409, "entry-is-not-deleted")
        assert all(answer.json() == answers[0].json() for answer in answers)


class TestAKeyThatWasUsed:
    async def test_is_refused_with_another_body(self, ann: AsyncClient):
        await ann.post(ENTRIES, json=VARVE, headers=KEY)
        answer = await ann.post(ENTRIES, json={"name": "Layer"}, headers=KEY)
        require_problem(answer, 422, "idempotency-key-reused")

    async def test_is_refused_on_another_route(self, ann: AsyncClient):
        one, two = await create_entry(ann), await create_entry(ann)
        await ann.patch(one.url, json=VARVE, headers=KEY)
        require_problem(await ann.patch(two.url, json=VARVE, headers=KEY), 422, "idempotency-key-reused")

    async def test_is_refused_with_another_method(self, ann: AsyncClient):
        one, two = await create_entry(ann), await create_entry(ann)
        link = {"target_id": two.id, "relation": "explains"}
        await ann.delete(one.url, headers=KEY)
        require_problem(await ann.post(f"{two.url}/links", json=link, headers=KEY), 422, "idempotency-key-reused")

    async def test_is_refused_with_other_parameters(self, ann: AsyncClient):
        entry = await create_entry(ann)
        missing = {"target_id": str(NOBODYS_ID), "relation": "explains"}
        await ann.delete(f"{entry.url}/links", params=missing, headers=KEY)
        other = await ann.delete(f"{entry.url}/links", params=missing | {"relation": "contradicts"}, headers=KEY)
        require_problem(other, 422, "idempotency-key-reused")

    async def test_is_refused_with_another_if_match(self, ann: AsyncClient):
        entry = await create_entry(ann)
        await ann.patch(entry.url, json=VARVE, headers=KEY | {"If-Match": '"1"'})
        other = await ann.patch(entry.url, json=VARVE, headers=KEY | {"If-Match": '"2"'})
        require_problem(other, 422, "idempotency-key-reused")

    async def test_is_free_for_another_user(self, ann: AsyncClient, ben: AsyncClient):
        first = await ann.post(ENTRIES, json=VARVE, headers=KEY)
        other = await ben.post(ENTRIES, json=VARVE, headers=KEY)
        assert other.json()["aggregate_id"] != first.json()["aggregate_id"]

    async def test_is_free_for_a_user_of_the_same_name_in_another_tenant(self, ann: AsyncClient, client_of: ClientOf):
        first = await ann.post(ENTRIES, json=VARVE, headers=KEY)
        other = await client_of(actor("umbra", "ann")).post(ENTRIES, json=VARVE, headers=KEY)
        assert other.json()["aggregate_id"] != first.json()["aggregate_id"]

    async def test_is_free_again_when_it_has_expired(self, ann: AsyncClient, admin):
        first = await ann.post(ENTRIES, json=VARVE, headers=KEY)
        await admin.execute("update varve.idempotency set expires_at = now()")
        again = await ann.post(ENTRIES, json={"name": "Layer"}, headers=KEY)
        assert again.status_code == 201
        assert again.json()["aggregate_id"] != first.json()["aggregate_id"]

    async def test_that_was_reused_still_stands_for_its_first_request(self, ann: AsyncClient):
        first = await ann.post(ENTRIES, json=VARVE, headers=KEY)
        await ann.post(ENTRIES, json={"name": "Layer"}, headers=KEY)
        assert (await ann.post(ENTRIES, json=VARVE, headers=KEY)).json() == first.json()


class TestRemembered:
    async def test_a_command_that_changed_nothing(self, ann: AsyncClient):
        entry = await create_entry(ann)
        await ann.delete(entry.url)
        no_change = await ann.delete(entry.url, headers=KEY)
        await ann.post(f"{entry.url}/restore")
        again = await ann.delete(entry.url, headers=KEY)
        assert (again.status_code, again.headers["ETag"]) == (204, no_change.headers["ETag"])
        assert (await ann.get(f"{entry.url}/state")).json()["state"]["is_deleted"] is False

    async def test_a_refusal_of_the_domain(self, ann: AsyncClient):
        entry = await create_entry(ann)
        refused = await ann.post(f"{entry.url}/restore", headers=KEY)
        await ann.delete(entry.url)
        again = await ann.post(f"{entry.url}/restore", headers=KEY)
        require_problem(again, 409, "entry-is-not-deleted")
        assert again.json() == refused.json()

    async def test_that_something_is_not_there(self, ann: AsyncClient):
        entry = await create_entry(ann)
        link = {"target_id": str(NOBODYS_ID), "relation": "explains"}
        refused = await ann.post(f"{entry.url}/links", json=link, headers=KEY)
        again = await ann.post(f"{entry.url}/links", json=link, headers=KEY)
        require_problem(again, 404, "entry-not-found")
        assert again.json() == refused.json()


class TestNotRemembered:
    async def test_malformed_json(self, ann: AsyncClient):
        headers = KEY | {"Content-Type": "application/json"}
        assert (await ann.post(ENTRIES, content=b"{", headers=headers)).status_code == 400
        assert (await ann.post(ENTRIES, json=VARVE, headers=KEY)).status_code == 201

    async def test_an_invalid_body(self, ann: AsyncClient):
        assert (await ann.post(ENTRIES, json={"name": ""}, headers=KEY)).status_code == 422
        assert (await ann.post(ENTRIES, json=VARVE, headers=KEY)).status_code == 201

    async def test_a_missing_token(self, client: AsyncClient, ann: AsyncClient):
        assert (await client.post(ENTRIES, json=VARVE, headers=KEY)).status_code == 401
        assert (await ann.post(ENTRIES, json=VARVE, headers=KEY)).status_code == 201

    async def test_a_role_that_does_not_allow_it(self, client_of: ClientOf):
        before = client_of(actor("acme", "rita", Role.READER))
        after = client_of(actor("acme", "rita", Role.EDITOR))
        require_problem(await before.post(ENTRIES, json=VARVE, headers=KEY), 403, "permission-denied")
        assert (await after.post(ENTRIES, json=VARVE, headers=KEY)).status_code == 201

    async def test_a_version_mismatch(self, ann: AsyncClient):
        entry = await create_entry(ann)
        headers = KEY | {"If-Match": '"2"'}
        require_problem(await ann.patch(entry.url, json=VARVE, headers=headers), 412, "version-mismatch")
        await ann.patch(entry.url, json={"name": "Layer"})
        assert (await ann.patch(entry.url, json=VARVE, headers=headers)).json()["version"] == 3


@pytest.mark.parametrize("key", ["", "with space", "x" * 201, "ümlaut".encode(), "tab\there"])
async def test_a_key_is_1_to_200_visible_ascii_characters(ann: AsyncClient, key):
    refused = await ann.post(ENTRIES, json=VARVE, headers={"Idempotency-Key": key})
    require_problem(refused, 400, "invalid-idempotency-key")


async def test_the_longest_key_is_taken(ann: AsyncClient):
    assert (await ann.post(ENTRIES, json=VARVE, headers={"Idempotency-Key": "x" * 200})).status_code == 201
