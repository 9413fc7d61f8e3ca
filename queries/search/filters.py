"""The filters of a search as SQL: what a passage must be, and how many of a tenant's vectors each filter leaves."""

from collections.abc import Mapping, Sequence

from queries.search.message import Search

_CONDITIONS: Mapping[str, str] = {
    "kind": "c.source_kind = %(kind)s",
    "entity_type": "c.entity_type = %(entity_type)s",
    "category": "c.category = %(category)s",
    "document_id": "c.source_kind = 'document' and c.source_id = %(document_id)s",
    # `offset 0` keeps this a look-up by key: joined, after too low an estimate, it would meet each tag.
    "tag": "exists (select from {tags} t where t.tenant = c.tenant and t.tag = %(tag)s and t.chunk = c.chunk offset 0)",
}
_TAGGED = """(
        select v.* from {tags} t
        cross join lateral (select * from {vectors} v where v.tenant = t.tenant and v.chunk = t.chunk offset 0) v
        where t.tenant = (select varve.tenant()) and t.tag = %(tag)s
    )"""
_OF_TENANT = "select chunks from {vector_stats} where tenant = (select varve.tenant())"
_OF_TAG = "select from {vector_tags} t where t.tenant = (select varve.tenant()) and t.tag = %(tag)s"
_OF_COLUMN = "select from {vectors} c where c.tenant = (select varve.tenant()) and "

FIELDS = frozenset(_CONDITIONS)


def names_of(query: Search) -> tuple[str, ...]:
    """Return the names of the filters that `query` has."""
    return tuple(name for name in _CONDITIONS if getattr(query, name) is not None)


def conditions(filters: Sequence[str]) -> str:
    """Return `filters` as conditions on c, a chunk, each after an `and`; ``{tags}`` is left open."""
    return " ".join(f"and {_CONDITIONS[name]}" for name in filters)


def of_vectors(filters: Sequence[str], tables: Mapping[str, str]) -> dict[str, str]:
    """Return the fields of vector_search.sql that depend on `filters`; `tables` are the names of the tables."""
    names = {**tables, "tags": tables["vector_tags"]}
    others = [name for name in filters if name != "tag"]
    is_by_tag = "tag" in filters and "document_id" not in filters  # a document leaves few anyway
    fields = {
        "filters": conditions(filters),
        "matching": _TAGGED if is_by_tag else "{vectors}",
        "conditions": conditions(others if is_by_tag else filters),
        "are_many": _are_many(filters),
    }
    return {name: sql.format(**names) for name, sql in fields.items()}


def _are_many(filters: Sequence[str]) -> str:
    """Return the condition that the tenant has many vectors, and each filter leaves many: more than the row of `few`.

    Each count is an index scan that ends as soon as there are more, and is not begun when one before it was small.
    """
    rows = [_OF_TAG if name == "tag" else _OF_COLUMN + _CONDITIONS[name] for name in filters]
    counts = [_OF_TENANT, *(f"select count(*) from ({each} limit (select few + 1 from few)) counted" for each in rows)]
    return " and ".join(f"coalesce(({each}), 0) > (select few from few)" for each in counts)
