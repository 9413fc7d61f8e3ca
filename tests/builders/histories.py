"""Random histories: any event in any order, with values that today's rules would refuse among them."""

from typing import Any

from hypothesis import strategies as st

from domain.shared.access import Visibility
from domain.shared.aggregates import AggregateType
from domain.shared.events import Event
from tests.builders.entries import ENTRY_ID, TARGET_ID

_TEXT = st.text(max_size=12)
_SMALL = st.integers(min_value=0, max_value=3)
_JSON = st.recursive(st.none() | st.booleans() | st.integers() | _TEXT, lambda inner: st.lists(inner, max_size=2))

_FIELDS: dict[str, st.SearchStrategy[Any]] = {
    "attempt": _SMALL,
    "attributes": st.dictionaries(_TEXT, _JSON, max_size=2),
    "category": st.none() | _TEXT,
    "changed": st.tuples(_TEXT),
    "characters": _SMALL,
    "chunk_count": _SMALL,
    "content_sha256": _TEXT,
    "description": _TEXT,
    "document_id": st.just(ENTRY_ID),
    "entity_type": _TEXT,
    "entry_id": st.just(ENTRY_ID),
    "file_name": _TEXT,
    "language": st.none() | _TEXT,
    "media_type": _TEXT,
    "message": _TEXT,
    "name": _TEXT,
    "owner": _TEXT,
    "pages": st.none() | _SMALL,
    "reason": _TEXT,
    "relation": st.sampled_from(["explains", "contradicts"]),
    "sha256": _TEXT,
    "size": _SMALL,
    "tags": st.tuples(_TEXT),
    "target_id": st.sampled_from([ENTRY_ID, TARGET_ID]),
    "title": _TEXT,
    "visibility": st.sampled_from(Visibility),
}


def histories(aggregate_type: AggregateType[Any]) -> st.SearchStrategy[list[Event]]:
    """Lists of events of a kind of aggregate, unvalidated, as if older rules had let them in."""
    return st.lists(st.one_of(*(_events(event_class) for event_class in aggregate_type.events)), max_size=12)


def _events(event_class: type[Event]) -> st.SearchStrategy[Event]:
    fields = {name: _FIELDS[name] for name in event_class.model_fields}
    return st.fixed_dictionaries(fields).map(lambda values: event_class.model_construct(**values))
