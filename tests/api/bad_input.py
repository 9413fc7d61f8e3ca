"""Requests that must be refused with a problem document and change nothing."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from tests.builders.entries import NOBODYS_ID
from tests.builders.requests import ENTRIES

JSON = {"Content-Type": "application/json"}
_NOTHING = f"{ENTRIES}/{NOBODYS_ID}"


@dataclass(frozen=True)
class BadRequest:
    """A request, by the name that a test shows, and the statuses that are right for it."""

    name: str
    statuses: tuple[int, ...]
    method: str = "POST"
    path: str = ENTRIES
    content: bytes = b""
    headers: Mapping[str, str] = field(default_factory=lambda: JSON)


def _post(name: str, content: bytes, *statuses: int) -> BadRequest:
    return BadRequest(name, statuses or (422,), content=content)


def _get(name: str, path: str, *statuses: int) -> BadRequest:
    return BadRequest(name, statuses or (422,), "GET", path, headers={})


_DEEP = 20_000

BAD_REQUESTS = [
    _post("malformed json", b'{"name": ', 400),
    _post("no body", b"", 400, 422),
    _post("an empty object", b"{}"),
    _post("a list", b"[]"),
    _post("a string", b'"name"'),
    _post("null", b"null"),
    _post("two values", b'{"name": "a"} {}', 400),
    _post("a number as name", b'{"name": 1}'),
    _post("a name of spaces", b'{"name": "   "}'),
    _post("a name too long", b'{"name": "' + b"x" * 501 + b'"}'),
    _post("tags as text", b'{"name": "a", "tags": "b"}'),
    _post("51 tags", b'{"name": "a", "tags": [' + b",".join(b'"t%d"' % n for n in range(51)) + b"]}"),
    _post("attributes as list", b'{"name": "a", "attributes": []}'),
    _post("unknown visibility", b'{"name": "a", "visibility": "public"}'),
    _post("an unknown field", b'{"name": "a", "owner": "eve"}'),
    _post("an unknown field that is no Unicode", b'{"name": "a", "\\ud800": 1}'),
    _post("NUL in name", b'{"name": "a\\u0000b"}'),
    _post("NUL in a tag", b'{"name": "a", "tags": ["\\u0000"]}'),
    _post("NUL in an attribute", b'{"name": "a", "attributes": {"b": ["\\u0000"]}}'),
    _post("NUL in an attribute's name", b'{"name": "a", "attributes": {"b": {"\\u0000": 1}}}'),
    _post("a raw NUL byte", b'{"name": "a\x00b"}', 400),
    _post("a lone surrogate in name", b'{"name": "\\ud800"}'),
    _post("a lone surrogate in an attribute", b'{"name": "a", "attributes": {"b": "\\udfff"}}'),
    _post("a lone surrogate in an attribute's name", b'{"name": "a", "attributes": {"\\udfff": 1}}'),
    _post("invalid UTF-8", b'{"name": "\xff\xfe"}', 400),
    _post("UTF-16", '{"name": "a", "x": 1}'.encode("utf-16"), 400, 422),
    _post("an integer beyond 64 bits", b'{"name": "a", "attributes": {"b": 18446744073709551616}}'),
    _post("a negative integer beyond 64 bits", b'{"name": "a", "attributes": {"b": -9223372036854775809}}'),
    _post("an integer of 5000 digits", b'{"name": "a", "attributes": {"b": ' + b"9" * 5000 + b"}}", 400, 422),
    _post("1e400", b'{"name": "a", "attributes": {"b": 1e400}}', 400, 422),
    _post("NaN", b'{"name": "a", "attributes": {"b": NaN}}', 400, 422),
    _post("Infinity", b'{"name": "a", "attributes": {"b": [-Infinity]}}', 400, 422),
    _post("deep lists", b'{"name": "a", "attributes": {"b": ' + b"[" * _DEEP + b"]" * _DEEP + b"}}", 400, 422),
    _post("deep objects", b'{"name": "a", "attributes": ' + b'{"b":' * _DEEP + b"1" + b"}" * _DEEP + b"}", 400, 422),
    _post("nested 900 times", b'{"name": "a", "attributes": {"b": ' + b"[" * 900 + b"]" * 900 + b"}}", 400, 422),
    _post("attributes of 1 MB", b'{"name": "a", "attributes": {"b": "' + b"x" * 1_000_000 + b'"}}'),
    _post("11 MB text", b'{"name": "a", "description": "' + b"x" * 11_000_000 + b'"}', 413),
    _post("a description too long", b'{"name": "a", "description": "' + b"x" * 1_000_001 + b'"}'),
    BadRequest("a form", (415, 422), content=b"name=a", headers={"Content-Type": "application/x-www-form-urlencoded"}),
    BadRequest("plain text", (415, 422), content=b'{"name": "a"}', headers={"Content-Type": "text/plain"}),
    BadRequest("an unknown change", (422,), "PATCH", _NOTHING, b'{"nme": "a"}'),
    BadRequest("a field cleared", (422,), "PATCH", _NOTHING, b'{"name": null}'),
    BadRequest("NUL in a change", (422,), "PATCH", _NOTHING, b'{"name": "\\u0000"}'),
    BadRequest("no id", (422,), "PATCH", f"{ENTRIES}/no-id", b"{}"),
    BadRequest("NUL in the path", (404, 422), "PATCH", f"{ENTRIES}/%00", b"{}"),
    BadRequest("no UTF-8 in the path", (404, 422), "PATCH", f"{ENTRIES}/%ff%fe", b"{}"),
    BadRequest("NUL in a relation", (422,), "POST", f"{_NOTHING}/links", b'{"target_id": "x", "relation": "\\u0000"}'),
    BadRequest(
        "NUL in a relation to remove", (422,), "DELETE", f"{_NOTHING}/links?target_id={NOBODYS_ID}&relation=%00"
    ),
    BadRequest("no target", (422,), "DELETE", f"{_NOTHING}/links?relation=is"),
    _get("NUL in the text", f"{ENTRIES}?text=a%00"),
    _get("NUL in a tag to find", f"{ENTRIES}?tag=%00"),
    _get("NUL in a category to find", f"{ENTRIES}?category=%00"),
    _get("NUL in a type to find", f"{ENTRIES}?entity_type=%00"),
    _get("an unknown parameter", f"{ENTRIES}?txt=a"),
    _get("an unknown order", f"{ENTRIES}?sort=description"),
    _get("no items", f"{ENTRIES}?limit=0"),
    _get("too many items", f"{ENTRIES}?limit=201"),
    _get("far too many items", f"{ENTRIES}?limit=99999999999999999999"),
    _get("no number of items", f"{ENTRIES}?limit=ten"),
    _get("no time", f"{ENTRIES}?created_from=yesterday"),
    _get("an infinite time", f"{ENTRIES}?created_from=infinity"),
    _get("a time without zone", f"{ENTRIES}?created_from=2026-01-01T00:00:00"),
    _get("no cursor", f"{ENTRIES}?cursor=nonsense", 400),
    _get("a cursor of no base64", f"{ENTRIES}?cursor=%C3%BC", 400),
    _get("a cursor of null", f"{ENTRIES}?cursor=bnVsbA", 400),
    _get("a cursor of a number", f"{ENTRIES}?cursor=MQ", 400),
    _get(
        "a cursor with NUL",
        f"{ENTRIES}?sort=name&cursor=WyJuYW1lIiwiXHUwMDAwIiwiMDE5MGEwMDAtMDAwMC03MDAwLTgwMDAtMDAwMDAwMDAwMDAxIl0",
        400,
    ),
    _get("no id to read", f"{ENTRIES}/no-id"),
    _get("version 0", f"{_NOTHING}/state?version=0"),
    _get("no time of a state", f"{_NOTHING}/state?at=now"),
    _get("another kind", "/api/v1/things/0190a000-0000-7000-8000-000000000001/history", 404, 422),
]
