"""Which application wrote an event: a tag says so, and what has no such tag is Varve's own.

Applications of the `eventsourcing` library share the log. A topic can't tell them apart: an unknown one may be newer
code's, and one that two applications use is no proof of anything.
"""

from collections.abc import Iterable

TAG_PREFIX = "application:"
"""A tag that begins so names the application that wrote the event; no other tag may."""


def is_ours(tags: str) -> str:
    """Return the SQL condition on a column of tags for events that Varve wrote.

    Most events have no tags at all. That this is asked first and as an equality is what plans rely on, too: they know
    how common it is from the table's statistics, and go on walking an index.
    """
    return f"({tags} = '{{}}' or {_tag(tags)} is null)"


def written_by(tags: str) -> str:
    """Return the SQL for the name of the application that wrote an event, null for Varve's own."""
    return f"case when {tags} <> '{{}}' then substr({_tag(tags)}, {len(TAG_PREFIX) + 1}) end"


def _tag(tags: str) -> str:
    return f"(select t.tag from unnest({tags}) as t (tag) where starts_with(t.tag, '{TAG_PREFIX}') limit 1)"


def tag_of(application: str) -> str:
    return f"{TAG_PREFIX}{application}"


def names_an_application(tags: Iterable[str]) -> bool:
    return any(tag.startswith(TAG_PREFIX) for tag in tags)
