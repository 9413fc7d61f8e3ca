"""An event that newer code wrote, in the middle of a rolling deployment: the old process says so and keeps running."""

import pytest

from tests.builders.requests import create_entry
from tests.builders.unknown_events import token_of
from tests.fixtures.command_line import run_varve

_APPEND_NEWER = """
insert into varve.events (tenant, position, stream, version, topic, class_version, data, metadata, recorded_at)
select tenant, position + 1, stream, version + 1, %s, %s, data, metadata, recorded_at
from varve.events order by position desc limit 1
"""


@pytest.mark.parametrize(
    ("topic", "class_version", "code"),
    [
        ("knowledge.KnowledgeEntryCreated", 2, "unknown-event-version"),
        ("knowledge.EntryPinned", 1, "unknown-event-type"),
    ],
)
async def test_what_newer_code_wrote_is_unavailable_to_older_code(ann, admin, topic, class_version, code):
    entry = await create_entry(ann)
    await admin.execute(_APPEND_NEWER, (topic, class_version))
    for answer in (await ann.get(f"{entry.url}/state"), await ann.patch(entry.url, json={"name": "Clay"})):
        assert answer.status_code == 503
        assert answer.json()["type"] == f"urn:varve:problem:{code}"
        assert answer.headers["Retry-After"] == "1"
    await create_entry(ann)


async def test_a_history_shows_it_as_stored_to_those_who_would_see_it_if_it_were_private(ann, ben, admin):
    entry = await create_entry(ann)
    await admin.execute(_APPEND_NEWER, ("knowledge.EntryPinned", 1))
    shown = [(await client.get(f"{entry.url}/history")).json()["items"] for client in (ann, ben)]
    (first, pinned), (_, of_another) = shown
    assert (first["unknown"], pinned["event_type"]) == (None, "knowledge.EntryPinned")
    assert pinned["unknown"].startswith("this code knows no event type knowledge.EntryPinned")
    assert pinned["data"]["name"] == first["data"]["name"]
    assert of_another == pinned | {"data": {}}


async def test_the_answer_names_the_event_and_states_before_it_are_there(ann, admin):
    entry = await create_entry(ann)
    await admin.execute(_APPEND_NEWER, ("knowledge.EntryPinned", 1))
    answer = (await ann.get(f"{entry.url}/state")).json()
    assert (answer["topic"], answer["class_version"], answer["version"]) == ("knowledge.EntryPinned", 1, 2)
    assert (await ann.get(f"{entry.url}/state", params={"version": 1})).json()["version"] == 1


async def test_the_aggregate_is_there_again_once_it_is_voided(ann, admin, settings):
    entry = await create_entry(ann)
    await admin.execute(_APPEND_NEWER, ("knowledge.EntryPinned", 1))
    wrong = await token_of(admin, 2)
    code, _, said = await run_varve(settings, "events", "void", wrong, "--tenant", "acme", "--reason", "gone")
    assert code == 0, said
    assert (await ann.get(f"{entry.url}/state")).json()["version"] == 3
    assert (await ann.patch(entry.url, json={"name": "Clay"})).is_success
