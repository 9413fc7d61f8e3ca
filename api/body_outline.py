"""The outline of a long JSON body: where its fields lie, and the items of those that are lists, without their values.

A parser takes a body as a whole, and none of its time can be given to others. This looks at brackets and quotes only,
in steps, and refuses what no valid body has; each piece that it finds is short work to parse.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from api.body_shape import Location
from eventstore.turns import Steps

MOST_PLAIN: Final = 500_000
"""Bytes outside of strings in one field, or in one item of a list: how long they take to parse depends on them."""
MOST_FIELDS: Final = 64
MOST_DEPTH: Final = 200
_MARKS_IN_A_STEP: Final = 500
_BOM: Final = b"\xef\xbb\xbf"
_SPACE = re.compile(rb"[ \t\n\r]*+")
_SCALAR = re.compile(rb"[^\s,:\[\]{}\"]++")
_MARK = re.compile(rb'["\[\]{}]')
_TEXT = re.compile(rb'(?:[^"\\]++|\\.)*+', re.DOTALL)
_PIECE: Final = 32 * 1024
_OPENING = frozenset(b"[{")
_QUOTE, _BACKSLASH = b'"'[0], b"\\"[0]

Span = tuple[int, int]


class MalformedError(Exception):
    """The body is no JSON; `position` is where that shows."""

    def __init__(self, position: int) -> None:
        super().__init__(f"no JSON at {position}")
        self.position = position


class ExcessiveError(Exception):
    """The body has more parts than a valid one can have."""

    def __init__(self, code: str, location: Location, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.location = location
        self.message = message


class NoObjectError(Exception):
    """The body is JSON maybe, and not an object."""


@dataclass(frozen=True, slots=True)
class Field:
    """A field of the body: its name, its value, and the items if it is a list that was asked for."""

    name: str
    value: Span
    items: list[Span] | None


class Outline:
    """Reads one body."""

    def __init__(self, content: bytes, most_items: Mapping[str, int]) -> None:
        """Take the body, and the names of the lists whose items are wanted one by one, with their greatest lengths."""
        self._content = content
        self._most_items = most_items
        self._at = len(_BOM) if content.startswith(_BOM) else 0
        self._marks = 0

    def fields(self) -> Steps[list[Field]]:
        """Return the fields in their order; of equal names all.

        Raises:
            MalformedError, NoObjectError, ExcessiveError: it is refused; what is inside of a field may be no JSON yet.
        """
        self._skip_space()
        if self._byte() != b"{":
            raise NoObjectError
        found: list[Field] = []
        self._at += 1
        self._skip_space()
        while self._byte() != b"}":
            if len(found) == MOST_FIELDS:
                raise ExcessiveError("too_many_fields", (), f"Object has more than {MOST_FIELDS} fields")
            found.append((yield from self._field()))
            yield
            self._next(b"}")
        self._at += 1
        self._skip_space()
        if self._at < len(self._content):
            raise MalformedError(self._at)
        return found

    def _field(self) -> Steps[Field]:
        start = self._at
        if self._byte() != b'"':
            raise MalformedError(start)
        yield from self._skip_string()
        name = _text(self._content[start : self._at], start)
        self._skip_space()
        if self._byte() != b":":
            raise MalformedError(self._at)
        self._at += 1
        self._skip_space()
        start = self._at
        most = self._most_items.get(name)
        items = None
        if most is not None and self._byte() == b"[":
            items = yield from self._items(most, (name,))
        else:
            yield from self._skip_value((name,))
        return Field(name, (start, self._at), items)

    def _items(self, most: int, location: Location) -> Steps[list[Span]]:
        found: list[Span] = []
        self._at += 1
        self._skip_space()
        while self._byte() != b"]":
            if len(found) == most:
                raise ExcessiveError("too_long", location, f"List should have at most {most} items, and has more")
            start = self._at
            yield from self._skip_value((*location, len(found)))
            found.append((start, self._at))
            self._next(b"]")
        self._at += 1
        return found

    def _next(self, end: bytes) -> None:
        """Go on to what comes after a comma, or to the `end`."""
        self._skip_space()
        if self._byte() == b",":
            self._at += 1
            self._skip_space()
            if self._byte() == end:
                raise MalformedError(self._at)
        elif self._byte() != end:
            raise MalformedError(self._at)

    def _skip_value(self, location: Location) -> Steps[None]:
        first = self._byte()
        if first == b'"':
            yield from self._skip_string()
        elif first in {b"[", b"{"}:
            yield from self._skip_nested(location)
        else:
            scalar = _SCALAR.match(self._content, self._at, self._at + MOST_PLAIN + 1)
            if scalar is None:
                raise MalformedError(self._at)
            if scalar.end() - self._at > MOST_PLAIN:
                raise _too_plain(location)
            self._at = scalar.end()

    def _skip_nested(self, location: Location) -> Steps[None]:
        content, depth, plain = self._content, 0, 0
        while True:
            at = self._next_mark(location)
            plain += at - self._at + 1
            if plain > MOST_PLAIN:
                raise _too_plain(location)
            self._marks += 1
            if self._marks % _MARKS_IN_A_STEP == 0:
                yield
            if content[at] == _QUOTE:
                end = content.find(b'"', at + 1)
                self._at = end + 1
                if end < 0 or content[end - 1] == _BACKSLASH:  # not as most strings are
                    self._at = at
                    yield from self._skip_string()
                continue
            self._at = at + 1
            depth += 1 if content[at] in _OPENING else -1
            if depth == 0:
                return
            if depth > MOST_DEPTH:
                raise ExcessiveError("too_deep", location, f"Value is nested more than {MOST_DEPTH} deep")

    def _next_mark(self, location: Location) -> int:
        mark = _MARK.search(self._content, self._at, self._at + MOST_PLAIN + 1)
        if mark is not None:
            return mark.start()
        if self._at + MOST_PLAIN < len(self._content):
            raise _too_plain(location)
        raise MalformedError(len(self._content))

    def _skip_string(self) -> Steps[None]:
        """Go from a string's first quote to what follows its last one."""
        content, at = self._content, self._at + 1
        quote = content.find(b'"', at)
        if quote > 0 and content.find(b"\\", at, quote) < 0:
            self._at = quote + 1
            return
        while content[at : at + 1] != b'"':
            piece = _TEXT.match(content, at, at + _PIECE)
            if piece is None or piece.end() == at:
                raise MalformedError(at)
            at = piece.end()
            yield
        self._at = at + 1

    def _skip_space(self) -> None:
        space = _SPACE.match(self._content, self._at)
        if space is not None:
            self._at = space.end()

    def _byte(self) -> bytes:
        return self._content[self._at : self._at + 1]


def _text(quoted: bytes, position: int) -> str:
    try:
        text: str = json.loads(quoted)
    except ValueError as error:
        raise MalformedError(position) from error
    return text


def _too_plain(location: Location) -> ExcessiveError:
    return ExcessiveError("too_large", location, f"Value has more than {MOST_PLAIN} bytes besides its texts")
