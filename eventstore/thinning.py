"""Leaves out events of which a later one of their stream leaves nothing."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any

from eventstore.log_filter import CLASS_VERSION, DATA, POSITION, STREAM, TENANT, TOPIC
from eventstore.records import RecordedEvent

_DECODED_AT_ONCE = 1_000
_DECODED_BYTES = 1_000_000


class Thinning:
    """Decodes rows of the log, but for those that are overwritten.

    A row of a topic that overwrites is held, undecoded, until another one of its stream comes. If that is of the same
    topic, it takes the held one's place; else both are decoded. So the order within a stream is kept, and streams may
    overtake each other.
    """

    def __init__(
        self,
        overwriting: Mapping[str, int],
        skipped: Collection[int],
        decode: Callable[[Sequence[Any]], Sequence[RecordedEvent]],
    ) -> None:
        """Take what overwrites, what is skipped, and how rows are decoded.

        Args:
            overwriting: topics, with the newest class version of each that is known; what is newer is not held.
            skipped: positions.
            decode: returns the events of all rows, or raises what is wrong with one of them.
        """
        self._overwriting = overwriting
        self._skipped = skipped
        self._decode = decode
        self._held: dict[tuple[str, str], Any] = {}

    def events(self, rows: Sequence[Any]) -> Sequence[RecordedEvent]:
        """Return the events that can be folded now that `rows` are there, too."""
        if self._skipped:
            rows = [row for row in rows if row[POSITION] not in self._skipped]
        return self._decode(self._passed(rows) if self._overwriting else rows)

    @property
    def octets(self) -> int:
        """How many bytes of data it holds back."""
        return sum(len(row[DATA]) for row in self._held.values())

    def rest(self) -> Iterator[Sequence[RecordedEvent]]:
        """Yield the events that are held, some at a time; nothing comes after them."""
        held, self._held = list(self._held.values()), {}
        for rows in decoded_at_once(held):
            yield self._decode(rows)

    def _passed(self, rows: Sequence[Any]) -> list[Any]:
        passed = []
        for row in rows:
            stream, topic = (row[TENANT], row[STREAM]), row[TOPIC]
            before = self._held.pop(stream, None)
            overwrites = row[CLASS_VERSION] <= self._overwriting.get(topic, 0)
            if before is not None and not (overwrites and before[TOPIC] == topic):
                passed.append(before)
            if overwrites:
                self._held[stream] = row
            else:
                passed.append(row)
        return passed


def decoded_at_once(rows: Sequence[Any]) -> Iterator[Sequence[Any]]:
    """Yield `rows` in pieces whose decoding takes some milliseconds."""
    start = octets = 0
    for end, row in enumerate(rows):
        octets += len(row[DATA])
        if end > start and (octets > _DECODED_BYTES or end - start == _DECODED_AT_ONCE):
            yield rows[start:end]
            start, octets = end, len(row[DATA])
    if start < len(rows):
        yield rows[start:]
