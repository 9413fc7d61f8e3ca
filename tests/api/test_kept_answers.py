"""Answers that are given again: the same bytes and headers, to those who may have them, and a list of them."""

import asyncio
import json
from uuid import UUID

import pytest

from queries.knowledge.entry_list import GetEntry, ListEntries
from tests.api.problem import require_problem
from tests.builders.requests import ENTRIES, create_entry, read_after
from tests.projections.engines import until

pytestmark = pytest.mark.usefixtures("engine")

OWN_HEADERS = ("content-type", "content-length", "x-position", "etag")


async def test_a_repeated_question_gets_the_same_bytes_and_headers(ann):
    entry = await create_entry(ann)
    first = await ann.get(entry.url, headers=entry.seen)
    again = await ann.get(entry.url)
    assert again.content == first.content
    assert [again.headers[name] for name in OWN_HEADERS] == [first.headers[name] for name in OWN_HEADERS]
    assert "x-correlation-id" in again.headers


async def test_what_is_asked_for_by_its_id_is_known_before_anybody_asked(ann, api):
    entry = await create_entry(ann)
    known = api.state.known_questions
    assert known.get({"path": entry.url, "query_string": b""}) == GetEntry(entry_id=UUID(entry.id))
    for path in (f"{ENTRIES}/{entry.id.upper()}", f"{ENTRIES}/x", ENTRIES):
        assert known.get({"path": path, "query_string": b""}) is None
    assert known.get({"path": entry.url, "query_string": b"x=1"}) is None
    other_spelling = f"{ENTRIES}/{UUID(entry.id).hex}"
    first = await ann.get(other_spelling, headers=entry.seen)
    assert first.json()["entry_id"] == entry.id
    assert (await ann.get(other_spelling)).content == first.content


async def test_a_list_is_known_once_it_was_answered(ann, api):
    known, scope = api.state.known_questions, {"path": ENTRIES, "query_string": b"limit=2"}
    assert known.get(scope) is None
    await ann.get(f"{ENTRIES}?limit=2")
    assert known.get(scope) == ListEntries(limit=2)


async def test_a_change_is_answered_to_whoever_names_its_position(ann):
    entry = await create_entry(ann)
    for number in range(5):
        await ann.get(entry.url, headers=entry.seen)
        changed = await ann.patch(entry.url, json={"name": f"Name {number}"})
        assert (await read_after(ann, entry.url, changed)).json()["name"] == f"Name {number}"


async def test_the_url_of_an_answer_gives_nothing_to_others(ann, ben, eve, otto, client):
    secret = await create_entry(ann, visibility="private")
    assert (await ann.get(secret.url, headers=secret.seen)).is_success
    assert (await ann.get(secret.url)).is_success
    for other in (ben, eve):
        require_problem(await other.get(secret.url), 404, "entry-not-found")
    require_problem(await otto.get(secret.url), 403, "permission-denied")
    require_problem(await client.get(secret.url), 401, "unauthorized")


async def test_a_malformed_or_future_position_is_refused_though_an_answer_is_kept(ann):
    entry = await create_entry(ann)
    await ann.get(entry.url, headers=entry.seen)
    epoch = entry.position.partition("-")[0]
    for wrong in ("x", "1", f"{epoch}-999999", "0" * 12 + "-1"):
        assert (await ann.get(entry.url, headers={"X-Min-Position": wrong})).status_code == 400


async def test_a_known_url_that_can_not_be_answered_any_more_is_a_problem_document(ann, ben):
    entry = await create_entry(ann)
    await ann.get(entry.url, headers=entry.seen)
    hidden = await ann.patch(entry.url, json={"visibility": "private"})
    refused = await read_after(ben, entry.url, hidden)
    require_problem(refused, 404, "entry-not-found")
    assert (await read_after(ann, entry.url, hidden)).is_success


async def test_an_error_is_not_kept(ann):
    url = f"{ENTRIES}/01a00000-0000-7000-8000-000000000000"
    require_problem(await ann.get(url), 404, "entry-not-found")
    require_problem(await ann.get(url), 404, "entry-not-found")


async def test_an_administrator_sees_which_answers_are_kept_and_how_often_they_were_given(ann, ada, eve, rita):
    entry = await create_entry(ann, name="Clay")
    for _ in range(4):
        assert (await ann.get("/api/v1/search", params={"q": "clay", "mode": "text"}, headers=entry.seen)).is_success

    async def listed() -> list[dict[str, object]]:
        return [each for each in (await ada.get("/api/v1/admin/answers")).json() if each["hits"]]

    await until(listed, "the answer and its hits are in Redis")
    (kept,) = await listed()
    assert (kept["kind"], kept["results"], kept["hits"]) == ("Search", 1, 3)
    assert 0 < kept["expires_in_seconds"] <= 1800
    assert len(kept["query_hash"]) == 64
    assert "clay" not in json.dumps(kept)
    require_problem(await rita.get("/api/v1/admin/answers"), 403, "permission-denied")
    require_problem(await eve.get("/api/v1/admin/answers"), 403, "permission-denied")


async def test_many_repeated_questions_at_once_are_all_answered(ann):
    entry = await create_entry(ann)
    await ann.get(entry.url, headers=entry.seen)
    answers = await asyncio.gather(*(ann.get(entry.url) for _ in range(100)))
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.content for answer in answers}) == 1
