"""Every way to ask a query: each filter alone and all together, in each order and mode."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from enum import Enum
from itertools import product
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin
from uuid import UUID

from queries.message import Query

_ID = UUID(int=0x13)
# For each field that is no closed set, a value that some rows of `many_tenants.sql` have.
_VALUES: Mapping[str, Any] = {
    "after": 5,
    "category": "category-1",
    "command_id": _ID,
    "created_before": datetime(2026, 1, 2, tzinfo=UTC),
    "created_from": datetime(2026, 1, 2, tzinfo=UTC),
    "document_id": _ID,
    "entity_type": "type-1",
    "entry_id": _ID,
    "owner": "ann",
    "projection": "knowledge_entry_list",
    "q": "clay word3 rare7",
    "request_id": _ID,
    "sha256": "0" * 64,
    "tag": "tag-1",
    "text": "silt 11",
    "user": "ann",
}
_NO_CONDITIONS = {"limit", "cursor", "wait_seconds"}


def ways_to_ask(query: type[Query]) -> Iterator[Query]:
    """Yield the query without its filters, with each of them and with all, each time with every order or mode.

    Raises:
        LookupError: a field is new, so that its plan would not be looked at.
    """
    required, choices, filters = {}, {}, {}
    for name, field in query.model_fields.items():
        if name in _NO_CONDITIONS:
            continue
        if field.is_required():
            required[name] = _values(query, name)[0]
        elif field.default is not None and _closed_set(field.annotation):
            choices[name] = _values(query, name)
        else:
            filters[name] = _values(query, name)
    single = [{name: value} for name, values in filters.items() for value in values]
    together = {name: values[0] for name, values in filters.items()}
    for chosen in product(*choices.values()):
        for given in ({}, *single, together):
            yield query(**required, **dict(zip(choices, chosen, strict=True)), **given)


def _values(query: type[Query], name: str) -> Sequence[Any]:
    values = _closed_set(query.model_fields[name].annotation)
    if not values and name not in _VALUES:
        raise LookupError(f"{query.__name__}.{name} has no value in _VALUES: its plan would not be looked at")
    return values or [_VALUES[name]]


def _closed_set(annotation: Any) -> Sequence[Any]:
    """Return all values that a field may have besides None; none where they can't be counted."""
    is_union = get_origin(annotation) in {Union, UnionType}
    members = [each for each in (get_args(annotation) if is_union else [annotation]) if each is not NoneType]
    match members:
        case [member] if get_origin(member) is Literal:
            return get_args(member)
        case [member] if member is bool:
            return (True, False)
        case [member] if isinstance(member, type) and issubclass(member, Enum):
            return list(member)
        case _:
            return ()
