"""PostgreSQL's binary format for arrays, written straight: the cheapest way for many rows to travel in one call.

The format is that of `array_send` and the element types' own send functions: big-endian, each element preceded by its
length in bytes, -1 for null. Elements are encoded when an append is prepared and only joined when a batch is formed.
"""

import struct
from collections.abc import Iterable
from dataclasses import dataclass
from uuid import UUID

NULL = struct.pack(">i", -1)

_length = struct.Struct(">i").pack
_int2 = struct.Struct(">ih").pack
_int4 = struct.Struct(">ii").pack
_int8 = struct.Struct(">iq").pack
_array_header = struct.Struct(">iiIii").pack
_JSONB_VERSION = b"\x01"
_TRUE, _FALSE = (_length(1) + value for value in (b"\x01", b"\x00"))


@dataclass(frozen=True, slots=True)
class ElementType:
    """A type by its numbers in PostgreSQL's catalogue, which never change for built-in types."""

    oid: int
    array_oid: int


TEXT = ElementType(25, 1009)
BYTEA = ElementType(17, 1001)
UUIDS = ElementType(2950, 2951)
INT2 = ElementType(21, 1005)
INT4 = ElementType(23, 1007)
INT8 = ElementType(20, 1016)
BOOL = ElementType(16, 1000)
JSONB = ElementType(3802, 3807)


def text(value: str | None) -> bytes:
    if value is None:
        return NULL
    content = value.encode()
    return _length(len(content)) + content


def blob(content: bytes | None) -> bytes:
    return NULL if content is None else _length(len(content)) + content


def jsonb(document: bytes | None) -> bytes:
    """Encode the text of a JSON document."""
    return NULL if document is None else blob(_JSONB_VERSION + document)


def uuid(value: UUID) -> bytes:
    return blob(value.bytes)


def int2(value: int) -> bytes:
    return _int2(2, value)


def int4(value: int | None) -> bytes:
    return NULL if value is None else _int4(4, value)


def int8(value: int) -> bytes:
    return _int8(8, value)


def boolean(value: bool | None) -> bytes:  # noqa: FBT001 - the value itself
    return NULL if value is None else _TRUE if value else _FALSE


def array(element_type: ElementType, count: int, elements: Iterable[bytes]) -> bytes:
    """Return a one-dimensional array of `count` encoded elements."""
    if count == 0:
        return _length(0) + _length(0) + struct.pack(">I", element_type.oid)
    # One dimension, nulls possible, the elements' type, their number, subscripts from 1.
    return _array_header(1, 1, element_type.oid, count, 1) + b"".join(elements)
