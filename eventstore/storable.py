"""Finds what PostgreSQL could not store before it is sent: in a batch one caller's NUL would fail all the others."""

import re
from collections.abc import Iterator, Sequence
from math import isfinite

from eventstore.errors import InvalidAppend
from eventstore.mapper import canonical_json
from eventstore.records import CommandRecord
from eventstore.rows import NO_CONDITIONS, Conditions, EventRow

MOST_EVENTS = 5_000
_MOST_NAMES = 20_000  # of streams, claims, tags, … in the conditions of one append
_NAME_BYTES = 800  # three of them fit in an entry of a B-tree, which holds 2,704
_HIGHEST_VERSION = 2**31 - 1
_HIGHEST_CLASS_VERSION = 2**15 - 1
_HIGHEST_POSITION = 2**63 - 1
_HIGHEST_COUNT = 2**53
_LONGEST_KEY_SECONDS = 10 * 365 * 86_400
_NUL_IN_JSON = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")


def require_storable(
    tenant: str, rows: Sequence[EventRow], conditions: Conditions, command: CommandRecord | None
) -> None:
    """Raise `InvalidAppend` for what the database would refuse with the whole batch."""
    if len(rows) > MOST_EVENTS:
        raise InvalidAppend(f"an append may have {MOST_EVENTS} events at the most, and this one has {len(rows)}")
    names = [tenant]
    for row in rows:
        _require_numbers(row)
        names += (row.topic, *row.tags) if row.stream is None else (row.stream, row.topic, *row.tags)
    if command is not None:
        if command.key is not None and not 0 <= command.key.seconds <= _LONGEST_KEY_SECONDS:
            raise InvalidAppend(f"a key is remembered for 0 to {_LONGEST_KEY_SECONDS} seconds")
        names += _names_of_command(command)
    if conditions is not NO_CONDITIONS:
        _require_conditions(conditions, has_events=bool(rows))
        names += _names_of_conditions(conditions)
    _require_names(names)


def storable_json(value: object) -> bytes:
    """Return `value` as canonical JSON that `jsonb` takes.

    Raises:
        InvalidAppend: a text in it holds a NUL character, or a number is infinite or none.
    """
    document = canonical_json(value)
    nulls = document.count(b"null")
    # A number that is not finite was written as null, so it is rare that one must be looked for.
    if nulls and not (isinstance(value, dict) and [*value.values()].count(None) == nulls) and not _is_finite(value):
        raise InvalidAppend("a number is not finite, and JSON has no such numbers")
    if b"\\u0000" in document and _NUL_IN_JSON.search(document):
        raise InvalidAppend("a text holds a NUL character, which PostgreSQL can't store")
    return document


def _require_numbers(row: EventRow) -> None:
    if (row.stream is None) != (row.version is None):
        raise InvalidAppend("an event has both a stream and a version, or neither")
    if row.version is not None:
        _require_version(row.version)
    if not 0 < row.class_version <= _HIGHEST_CLASS_VERSION:
        raise InvalidAppend(f"a class version is between 1 and {_HIGHEST_CLASS_VERSION}, not {row.class_version}")


def _require_version(version: int) -> None:
    if not 0 <= version <= _HIGHEST_VERSION:
        raise InvalidAppend(f"a version is between 0 and {_HIGHEST_VERSION}, not {version}")


def _require_conditions(conditions: Conditions, *, has_events: bool) -> None:
    claims, counters = conditions.claims, conditions.counters
    if not has_events and (claims.taken or claims.released or counters):
        raise InvalidAppend("claims and counters are derived from events: an append that changes them needs one")
    for counter in counters:
        if not -_HIGHEST_COUNT <= counter.add <= _HIGHEST_COUNT or not 0 <= counter.limit <= _HIGHEST_COUNT:
            raise InvalidAppend(f"a counter counts to {_HIGHEST_COUNT} at the most")
    if len(counters) > 1 and len({counter.name for counter in counters}) < len(counters):
        raise InvalidAppend("an append names each counter once")
    for _, version in conditions.expected:
        _require_version(version)
    if conditions.tracked is not None:
        _require_position(conditions.tracked.position)
    if conditions.boundary is not None:
        _require_position(conditions.boundary.after)


def _require_position(position: int) -> None:
    if not 0 <= position <= _HIGHEST_POSITION:
        raise InvalidAppend(f"a position is between 0 and {_HIGHEST_POSITION}, not {position}")


def _names_of_conditions(conditions: Conditions) -> list[str]:
    claims = conditions.claims
    names = [*claims.taken, *claims.taken.values(), *claims.released]
    names += [counter.name for counter in conditions.counters]
    names += [stream for stream, _ in conditions.expected]
    if conditions.tracked is not None:
        names.append(conditions.tracked.application_name)
    if conditions.boundary is not None:
        for item in conditions.boundary.items:
            names += [*item.topics, *item.tags]
    if len(names) > _MOST_NAMES:
        raise InvalidAppend(f"conditions may have {_MOST_NAMES} names at the most, and these have {len(names)}")
    return names


def _names_of_command(command: CommandRecord) -> Iterator[str]:
    yield from (name for name in (command.command_type, command.aggregate_id, command.user) if name is not None)
    if command.key is not None:
        yield from (command.key.actor, command.key.key)


def _require_names(names: Sequence[str]) -> None:
    together = "".join(names)
    if "\x00" in together:
        raise InvalidAppend("a text holds a NUL character, which PostgreSQL can't store")
    if len(together) <= _NAME_BYTES and together.isascii():  # as nearly always
        return
    for name in names:
        if len(name.encode()) > _NAME_BYTES:  # half of a surrogate pair has no UTF-8
            raise InvalidAppend(f"a name may have {_NAME_BYTES} bytes at the most: {name[:50]!r}…")


def _is_finite(value: object) -> bool:
    """Whether all numbers of a JSON document are; its depth was found to be bounded before."""
    if isinstance(value, float):
        return isfinite(value)
    if isinstance(value, dict):
        return all(each is None or isinstance(each, str) or _is_finite(each) for each in value.values())
    if isinstance(value, list | tuple):
        return all(each is None or isinstance(each, str) or _is_finite(each) for each in value)
    return True
