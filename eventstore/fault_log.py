"""Logs failures without a flood: the first of a kind at once, then one line a minute with their number."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import structlog
from opentelemetry import metrics

from eventstore.faults import Fault, fault_of

log = structlog.get_logger()

_SECONDS = 60.0
_MOST_KINDS = 1_000

faults = metrics.get_meter("varve.faults").create_counter(
    "varve.faults", unit="{failure}", description="Failures of PostgreSQL, Redis and the blob store, by kind."
)


@dataclass(slots=True)
class _Seen:
    logged_at: float
    since: int = 0


@dataclass
class FaultLog:
    """Counts every failure in a metric, and logs some; one for each process, see `FAULTS`."""

    clock: Callable[[], float] = time.monotonic
    """Seconds."""
    _seen: dict[tuple[str, str], _Seen] = field(default_factory=dict)
    _not_stored: dict[tuple[str, str], float] = field(default_factory=dict)
    """By service and kind, when."""

    def note(self, event: str, error: BaseException, *, service: str = "postgresql", **fields: Any) -> Fault:
        """Count `error` and log `event`, unless the same kind of failure was logged a moment ago; return its meaning.

        Args:
            event: the name of the log line.
            error: the failure.
            service: the service that failed.
            fields: further fields of the line.
        """
        fault = fault_of(error)
        attributes = {"varve.service": service, "varve.fault": fault.kind, "varve.meaning": fault.meaning.value}
        faults.add(1, attributes)
        if fault.is_of_storage:
            self._not_stored[service, fault.kind] = self.clock()
        times = self._times(event, fault.kind)
        if times:
            said = {"service": service, "fault": fault.kind, "meaning": fault.meaning.value, "times": times}
            log.warning(event, **said, error=str(error), **fields)
        return fault

    def not_stored(self, within_seconds: float) -> list[str]:
        """Return which services could not store anything, and why, so short a time ago."""
        since = self.clock() - within_seconds
        return sorted(f"{service}: {kind}" for (service, kind), at in self._not_stored.items() if at >= since)

    def note_stored(self, service: str = "postgresql") -> None:
        """Learn that a service stores again."""
        if self._not_stored:
            for each in [each for each in self._not_stored if each[0] == service]:
                del self._not_stored[each]

    def forget(self) -> None:
        """Forget all failures; the next one of each kind is logged at once."""
        self._seen.clear()
        self._not_stored.clear()

    def _times(self, event: str, kind: str) -> int:
        """Return how many failures the line stands for; 0 when none is due."""
        now = self.clock()
        seen = self._seen.get((event, kind))
        if seen is not None and now - seen.logged_at < _SECONDS:
            seen.since += 1
            return 0
        if len(self._seen) >= _MOST_KINDS:
            self._seen.clear()
        self._seen[event, kind] = _Seen(now)
        return 1 if seen is None else seen.since + 1


FAULTS = FaultLog()
"""This process's."""
