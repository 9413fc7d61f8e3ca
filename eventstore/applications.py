"""Which application wrote an event: a tag says so, and what has no such tag is Varve's own.

Applications of the `eventsourcing` library share the log. A topic can't tell them apart: an unknown one may be newer
code's, and one that two applications use is no proof of anything.
"""

from collections.abc import Iterable

TAG_PREFIX = "application:"
"""A tag that begins so names the application that wrote the event; no other tag may."""

_TAG = f"(select t.tag from unnest({{tags}}) as t (tag) where starts_with(t.tag, '{TAG_PREFIX}') limit 1)"
# Most events have no tags at all, and are known as ours by the first condition.
IS_OURS = f"(cardinality({{tags}}) = 0 or {_TAG} is null)"
"""The SQL condition on a column of tags for events that Varve wrote; `format` it with the column."""
WRITTEN_BY = f"case when cardinality({{tags}}) > 0 then substr({_TAG}, {len(TAG_PREFIX) + 1}) end"
"""The SQL for the name of the application that wrote an event, null for Varve's own."""


def tag_of(application: str) -> str:
    return f"{TAG_PREFIX}{application}"


def names_an_application(tags: Iterable[str]) -> bool:
    return any(tag.startswith(TAG_PREFIX) for tag in tags)
