"""What operators asked for before there was more to ask for is read as the usual request."""

import pytest

from domain.operations.events import ProjectionPaused, ProjectionRebuildRequested, ProjectionResumed
from eventstore.mapper import EventTypes

KNOWN = EventTypes(ProjectionPaused, ProjectionRebuildRequested, ProjectionResumed)


@pytest.mark.parametrize(
    ("stored", "event"),
    [
        (b'{"projection":"a"}', ProjectionRebuildRequested(projection="a", purpose="swap", tenant=None)),
        (b'{"projection":"a","reason":"b"}', ProjectionPaused(projection="a", reason="b", generation=None)),
        (b'{"projection":"a"}', ProjectionResumed(projection="a", generation=None)),
    ],
)
def test_the_first_version_is_read_as_the_usual_request(stored, event):
    assert KNOWN.decode(event.TOPIC, 1, stored) == event
