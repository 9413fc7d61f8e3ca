"""Applying events never raises, whatever their order: an old history always loads."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from domain.knowledge.document import DOCUMENT
from domain.knowledge.entry import ENTRY
from tests.builders import documents, entries
from tests.builders.histories import histories
from tests.spec import state_after

AGGREGATES = pytest.mark.parametrize("aggregate", [ENTRY, DOCUMENT], ids=["entry", "document"])


@AGGREGATES
@given(data=st.data())
@settings(max_examples=150, deadline=None)
def test_any_order_of_events_loads(aggregate, data):
    state_after(aggregate, *data.draw(histories(aggregate)))


@pytest.mark.parametrize(
    "event",
    [
        entries.updated(changed=("name",)),
        entries.deleted(),
        entries.restored(),
        entries.linked(),
        entries.unlinked(),
    ],
    ids=lambda event: type(event).__name__,
)
def test_an_entry_that_was_never_created_stays_absent(event):
    assert state_after(ENTRY, event) is None


@pytest.mark.parametrize(
    "event",
    [
        documents.started(),
        documents.processed(),
        documents.failed(),
        documents.reprocessing_requested(),
        documents.document_deleted(),
    ],
    ids=lambda event: type(event).__name__,
)
def test_a_document_that_was_never_uploaded_stays_absent(event):
    assert state_after(DOCUMENT, event) is None


def test_a_link_that_is_added_twice_is_one_link():
    assert state_after(ENTRY, entries.created(), entries.linked(), entries.linked()) == state_after(
        ENTRY, entries.created(), entries.linked()
    )


def test_a_state_survives_being_stored_as_a_snapshot():
    for aggregate, history in (
        (ENTRY, (entries.created(), entries.linked(), entries.deleted())),
        (DOCUMENT, (documents.uploaded(), documents.failed(), documents.reprocessing_requested())),
    ):
        state = state_after(aggregate, *history)
        assert aggregate.state.model_validate_json(state.model_dump_json()) == state
