"""An event that newer code wrote, in the middle of a rolling deployment: the old process says so and keeps running."""

import pytest

from tests.builders.requests import create_entry

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
