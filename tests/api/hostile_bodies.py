"""Bodies that no client means well with, each about as long as its route takes."""

import json
from collections.abc import Callable, Mapping

Make = Callable[[int], bytes]

_OF_ENTRIES = 2_500_000
"""Bytes of a batch whose entries are looked at one by one: it is stored, and more of them take as long each."""


def _repeated(before: bytes, item: bytes, after: bytes, size: int) -> bytes:
    count = (size - len(before) - len(after)) // (len(item) + 1)
    return before + b",".join([item] * count) + after


def _list(field: str, item: bytes) -> Make:
    return lambda size: _repeated(b'{"name":"a","%s":[' % field.encode(), item, b"]}", size)


def _filled(before: bytes, filling: bytes, after: bytes) -> Make:
    return lambda size: before + filling * ((size - len(before) - len(after)) // len(filling)) + after


def _keys(before: bytes, after: bytes) -> Make:
    def make(size: int) -> bytes:
        count = (size - len(before) - len(after)) // 12
        return before + b",".join(b'"%07x":1' % number for number in range(count)) + after

    return make


def _nested(before: bytes, opening: bytes, closing: bytes, after: bytes) -> Make:
    def make(size: int) -> bytes:
        depth = (size - len(before) - len(after)) // (len(opening) + len(closing))
        return before + opening * depth + closing * depth + after

    return make


def _batch(entry: dict[str, object]) -> Make:
    """As many entries of the greatest size as fit."""

    def make(size: int) -> bytes:
        one = json.dumps(entry, separators=(",", ":")).encode()
        return _repeated(b'{"entries":[', one, b"]}", min(size, _OF_ENTRIES, 500 * (len(one) + 1)))

    return make


SHAPES: Mapping[str, Make] = {
    "nulls as tags": _list("tags", b"null"),
    "nulls as entries": _list("entries", b"null"),
    "objects as entries": _list("entries", b"{}"),
    "objects as projections": _list("projections", b"{}"),
    "lists as attributes": _filled(b'{"name":"a","attributes":{"a":[', b"[],", b"1]}}"),
    "numbers": _filled(b'{"name":"a","attributes":{"a":[', b"1,", b"1]}}"),
    "fractions": _filled(b'{"name":"a","attributes":{"a":[', b"0.1e1,", b"1]}}"),
    "empty texts": _filled(b'{"name":"a","attributes":{"a":[', b'"",', b"1]}}"),
    "an attribute's keys": _keys(b'{"name":"a","attributes":{', b"}}"),
    "unknown keys": _keys(b"{", b"}"),
    "unknown keys of an entry": _keys(b'{"entries":[{', b"}]}"),
    "one key again and again": _filled(b"{", b'"name":"a",', b'"name":"a"}'),
    "a long key": _filled(b'{"', b"k", b'":1}'),
    "deep lists": _nested(b'{"name":"a","attributes":{"a":', b"[", b"]", b"}}"),
    "deep objects": _nested(b'{"name":"a","attributes":', b'{"a":', b"}", b"}").__call__,
    "deep lists alone": _nested(b"", b"[", b"]", b""),
    "a long text": _filled(b'{"name":"', b"x", b'"}'),
    "a long text of spaces": _filled(b'{"name":"', b" ", b'"}'),
    "a long text of others": _filled(b'{"description":"', "é".encode(), b'","name":"a"}'),
    "a long text in an enum": _filled(b'{"name":"a","visibility":"', b"x", b'"}'),
    "a long text in an id": _filled(b'{"relation":"is","target_id":"', b"0", b'"}'),
    "a long text in a time": _filled(b'{"projections":["a"],"time":"', b"2", b'"}'),
    "escapes": _filled(b'{"name":"a","description":"', b"\\u0041", b'"}'),
    "escaped quotes": _filled(b'{"name":"a","description":"', b'\\"', b'"}'),
    "escaped backslashes": _filled(b'{"name":"a","description":"', b"\\\\", b'"}'),
    "pairs of surrogates": _filled(b'{"name":"a","description":"', b"\\ud83d\\ude00", b'"}'),
    "lone surrogates": _filled(b'{"name":"a","description":"', b"\\ud83d", b'"}'),
    "spaces before": _filled(b"", b" ", b'{"name":"a"}'),
    "spaces inside": _filled(b'{"name"', b"\n", b':"a"}'),
    "spaces after": _filled(b'{"name":"a"}', b"\t", b""),
    "digits": _filled(b'{"name":', b"9", b"}"),
    "NaN": _filled(b'{"name":"a","attributes":{"a":[', b"NaN,", b"NaN]}}"),
    "cut off in a text": _filled(b'{"name":"', b"x", b""),
    "cut off in a list": _filled(b'{"name":"a","tags":[', b"null,", b""),
    "a list": _filled(b"[", b"null,", b"null]"),
    "a text": _filled(b'"', b"x", b'"'),
    "no JSON": _filled(b"", b"\x00", b""),
    "no UTF-8": _filled(b'{"name":"', b"\xff", b'"}'),
    "a mark of the byte order": _filled(b'\xef\xbb\xbf{"name":"a","tags":[', b"null,", b"null]}"),
    "UTF-16": lambda size: ('{"name":"' + "x" * (size // 2 - 20) + '"}').encode("utf-16"),
    "brackets that don't fit": _filled(b'{"name":"a","attributes":{"a":', b"[}", b"}}"),
    "entries with many attributes": _batch({"name": "a", "attributes": {"a": [1] * 21_000}}),
    "entries with many texts": _batch({"name": "a", "attributes": {"a": [""] * 16_000}}),
    "entries with long descriptions": _batch({"name": "a", "description": "x" * 1_000_000}),
    "entries with other descriptions": _batch({"name": "a", "description": "é" * 160_000}),
    "many small entries": _batch({"name": "a", "tags": [f"tag {number}" for number in range(50)]}),
    "entries with a wrong field each": _batch({"name": "a" * 501, "tags": ["x"] * 51, "description": "x" * 10_000}),
}


def body(shape: str, size: int) -> bytes:
    """Make a body of about `size` bytes."""
    return SHAPES[shape](size)
