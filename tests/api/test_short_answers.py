"""The answer to a request that is wrong, and all else that is made of it, stays short."""

import json

import pytest
from httpx import AsyncClient
from structlog.testing import capture_logs

from api.head_limit import MOST_HEADER_BYTES, MOST_HEADERS, MOST_PARAMETERS, MOST_URL_BYTES
from api.problems import MOST_ERRORS
from commands.knowledge.create_entry import CreateKnowledgeEntries
from commands.redaction import redacted
from domain.knowledge.entry import NewEntry
from tests.api.problem import require_problem
from tests.builders.entries import NOBODYS_ID
from tests.builders.requests import ENTRIES

MOST_BYTES = 16 * 1024
LONG = "x" * 20_000


async def test_twenty_errors_are_listed_and_the_others_counted(ann: AsyncClient):
    refused = await ann.post(f"{ENTRIES}:batch", json={"entries": [{"name": "a"}, *[{}] * 50]})
    require_problem(refused, 422, "invalid-request")
    problem = refused.json()
    assert (len(problem["errors"]), problem["more_errors"]) == (MOST_ERRORS, 30)
    assert problem["detail"].endswith("and 30 more.")


async def test_the_tags_of_the_issue_are_one_error(ann: AsyncClient):
    refused = await ann.post(ENTRIES, json={"name": "a", "tags": [None] * 40_000})
    require_problem(refused, 422, "invalid-request")
    assert [error["location"] for error in refused.json()["errors"]] == [["body", "tags"]]
    assert len(refused.content) < 500


LONG_ONES = [
    ("POST", ENTRIES, {"name": "a", LONG: 1}),
    ("POST", ENTRIES, {"name": "a", "attributes": 1} | {"\x01" * 5_000 + str(number): 1 for number in range(19)}),
    ("POST", ENTRIES, {"name": "a", "visibility": LONG}),
    ("POST", ENTRIES, {"name": LONG}),
    ("POST", f"{ENTRIES}/{NOBODYS_ID}/links", {"target_id": LONG, "relation": LONG}),
    ("PATCH", f"{ENTRIES}/{LONG}", {"name": "a"}),
    ("GET", f"{ENTRIES}/{LONG}", None),
    ("GET", f"{ENTRIES}?cursor={LONG}", None),
    ("GET", f"{ENTRIES}?{LONG}=1", None),
    ("GET", f"{ENTRIES}?sort={LONG}", None),
    ("GET", f"{ENTRIES}?created_from={LONG}", None),
    ("GET", f"{ENTRIES}?limit={'9' * 20_000}", None),
    ("GET", f"{ENTRIES}?{'&'.join(f'a{number}=1' for number in range(MOST_PARAMETERS))}", None),
    ("GET", f"/api/v1/{LONG}", None),
    ("GET", f"/api/v1/{LONG}/{NOBODYS_ID}/history", None),
    ("GET", f"/api/v1/search?q={LONG[1:]}&document_id=x{LONG[:9_000]}", None),
]


@pytest.mark.parametrize(("method", "path", "body"), LONG_ONES, ids=range(len(LONG_ONES)))
async def test_no_long_input_is_repeated(ann: AsyncClient, method, path, body):
    with capture_logs() as logs:
        refused = await ann.request(method, path, json=body)
    assert refused.status_code in {400, 404, 422}
    assert len(refused.content) <= MOST_BYTES
    assert LONG[:600] not in refused.text
    assert len(json.dumps(logs, default=str)) < 4_000


LONG_HEADERS = [
    "X-Min-Position",
    "X-As-Of",
    "Idempotency-Key",
    "If-Match",
    "X-Correlation-Id",
    "traceparent",
    "baggage",
]


@pytest.mark.parametrize("name", LONG_HEADERS)
async def test_no_long_header_is_repeated(ann: AsyncClient, name):
    for method, body in (("GET", None), ("POST", {"name": "a"})):
        with capture_logs() as logs:
            answer = await ann.request(method, ENTRIES, json=body, headers={name: LONG})
        assert answer.status_code < 500
        assert len(answer.content) <= MOST_BYTES
        assert LONG[:600] not in answer.text + str(answer.headers)
        assert len(json.dumps(logs, default=str)) < 4_000


async def test_a_head_that_is_too_long_is_refused_before_the_token(client: AsyncClient):
    require_problem(await client.get(f"{ENTRIES}?text={'x' * MOST_URL_BYTES}"), 414, "url-too-long")
    require_problem(await client.get(ENTRIES, headers={"X-Any": "x" * MOST_HEADER_BYTES}), 431, "headers-too-large")
    many = [("X-Any", "x")] * MOST_HEADERS
    require_problem(await client.get(ENTRIES, headers=many), 431, "headers-too-large")


async def test_the_longest_question_is_not_too_long(ann: AsyncClient):
    answer = await ann.get("/api/v1/search", params={"q": "😀" * 1_000, "mode": "text"})
    assert answer.status_code != 414


async def test_a_form_of_another_kind_is_not_received(ann: AsyncClient):
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    refused = await ann.post("/api/v1/documents", content=b"&" * 1_000_000, headers=headers)
    require_problem(refused, 415, "unsupported-media-type")


FORMS = {
    "many tags": {"data": {"tags": ["x"] * 1_000}},
    "a long category": {"data": {"category": "x" * 5_000}},
    "two files": {"files": [("file", ("a", b"a")), ("file", ("b", b"b"))]},
    "a long name of a file": {"files": {"file": (LONG, b"a")}},
}


@pytest.mark.parametrize("form", FORMS)
async def test_a_form_with_too_much_in_it_is_refused(ann: AsyncClient, form):
    fields = {"files": {"file": ("a.txt", b"a")}} | FORMS[form]
    refused = await ann.post("/api/v1/documents", **fields)
    assert refused.status_code in {400, 422}
    assert refused.headers["Content-Type"] == "application/problem+json"
    assert len(refused.content) <= MOST_BYTES


async def test_other_routes_take_a_quarter_of_a_megabyte(ann: AsyncClient, otto: AsyncClient):
    content = b'{"reason": "' + b"x" * 262_144 + b'"}'
    headers = {"Content-Type": "application/json"}
    path = "/api/v1/admin/projections/knowledge_entry_list/pauses"
    require_problem(await otto.post(path, content=content, headers=headers), 413, "body-too-large")
    linked = await ann.post(f"{ENTRIES}/{NOBODYS_ID}/links", content=content, headers=headers)
    require_problem(linked, 413, "body-too-large")
    assert (await ann.post(ENTRIES, json={"name": "a", "description": "x" * 300_000})).status_code == 201


@pytest.mark.parametrize(
    "attributes",
    [
        {"a": [["x" * 199] * 20] * 15},
        {f"{number:0190}": 1 for number in range(300)},
        {"a": {f"{number:0190}": ["x"] for number in range(150)}},
    ],
    ids=["lists", "names", "objects"],
)
def test_the_audit_keeps_little_of_a_batch(attributes):
    entries = (NewEntry(name="a", attributes=attributes),) * 200
    assert len(json.dumps(redacted(CreateKnowledgeEntries(entries=entries)))) < 64_000
