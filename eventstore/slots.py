"""Parts of the log that readers share: a partition's slot never changes, and a reader has a range of slots."""

from dataclasses import dataclass
from typing import Literal, assert_never
from zlib import crc32

SLOTS = 256


def slot_of(partition: str) -> int:
    """Return the slot of a partition's key: the same in every process, in PostgreSQL, and for ever."""
    return crc32(partition.encode()) % SLOTS


@dataclass(frozen=True, slots=True)
class SlotRange:
    """The slots from `first` to `last`: all events of a stream, or of a tenant, are in one slot.

    The same slots as those of a projection that is partitioned so.
    """

    first: int
    last: int
    by: Literal["stream", "tenant"] = "stream"

    def takes(self, tenant: str, stream: str | None) -> bool:
        match self.by:
            case "stream":
                key = f"{tenant}/{stream}"
            case "tenant":
                key = tenant
            case _:
                assert_never(self.by)
        return self.first <= slot_of(key) <= self.last
