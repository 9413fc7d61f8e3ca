"""Identifiers, and where new ones and the time come from: both from outside, so that decisions replay the same."""

import secrets
from datetime import datetime
from typing import Annotated, Protocol
from uuid import UUID

from pydantic import StringConstraints

TenantId = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$")]
"""A tenant's name: what a DNS label may be, because it becomes part of keys, folders and host names."""

UserId = Annotated[str, StringConstraints(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f\x7f]+$")]


class Clock(Protocol):
    """Where the time comes from."""

    def now(self) -> datetime:
        """Return the time, with UTC as its zone."""
        ...


class Ids(Protocol):
    """Where new identifiers come from."""

    def new(self) -> UUID: ...


def uuid7(milliseconds: int) -> UUID:
    """Return an RFC 9562 version 7 UUID, so that new keys land side by side in an index.

    Args:
        milliseconds: since the Unix epoch.
    """
    random = secrets.randbits(74)
    value = (milliseconds & 0xFFFF_FFFF_FFFF) << 80
    value |= 0x7 << 76
    value |= (random >> 62) << 64
    value |= 0b10 << 62
    value |= random & 0x3FFF_FFFF_FFFF_FFFF
    return UUID(int=value)
