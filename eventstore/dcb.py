"""The library's recorder for dynamic consistency boundaries (https://dcb.events) over our log."""

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any

from eventsourcing import persistence as library
from eventsourcing.dcb.api import (
    DCBAppendCondition,
    DCBEvent,
    DCBQuery,
    DCBReadResponse,
    DCBRecorder,
    DCBSequencedEvent,
    DCBSubscription,
)
from eventsourcing.dcb.persistence import DCBListenNotifySubscription

from eventstore.applications import TAG_PREFIX, names_an_application
from eventstore.datastore import Datastore
from eventstore.matching import MatchedEvent, MatchedWindow, windows
from eventstore.recorder_subscriptions import WakeThread
from eventstore.recorders import LogRecorder
from eventstore.records import Boundary, BoundaryItem
from eventstore.rows import Conditions, EventRow
from eventstore.scope import Scope

_CLASS_VERSION = 1


class VarveDCBRecorder(LogRecorder, DCBRecorder):
    """Appends events that have tags instead of a stream, and reads all events of its scope."""

    command_type = "DCBRecorder.append"

    def append(self, events: Sequence[DCBEvent], condition: DCBAppendCondition | None = None) -> int:
        """Append, all or nothing, and return the last event's position.

        Raises:
            IntegrityError: an event after `condition.after` matches.
            ProgrammingError: there are no events, or one has a tag that names an application.
            OperationalError: no connection; the outcome is unknown.
        """
        if not events:
            raise library.ProgrammingError("there are no events to append")
        rows = [EventRow(None, None, event.type, _CLASS_VERSION, event.data, self._tags(event)) for event in events]
        boundary = None
        if condition is not None:
            boundary = Boundary(_items(condition.fail_if_events_match, self._scope), condition.after or 0)
        return self._store(rows, Conditions(boundary=boundary))

    def read(
        self, query: DCBQuery | None = None, *, after: int | None = None, limit: int | None = None
    ) -> DCBReadResponse:
        return VarveReadResponse(self.matching(query, after or 0, limit), self._scope, has_limit=limit is not None)

    def subscribe(
        self, query: DCBQuery | None = None, *, after: int | None = None
    ) -> DCBSubscription["VarveDCBRecorder"]:
        """Follow the events of the tenant that is set now."""
        recorder = VarveDCBRecorder(self._datastore, self._scope.of_tenant_now())
        return VarveDCBSubscription(recorder, self._datastore, query, after)

    def matching(self, query: DCBQuery | None, after: int, limit: int | None = None) -> Iterator[MatchedWindow]:
        """Yield windows of what matches and was not voided since.

        An append's condition is crossed by voided events and by those that void, too: both came after what was read.
        """
        items = _items(query or DCBQuery(), self._scope)
        find, only_ours = self._datastore.search, self._scope.is_ours
        return windows(
            find, self._scope.tenant(), items, after, limit=limit, leaves_out_voided=True, only_ours=only_ours
        )

    def sequenced(self, window: MatchedWindow) -> list[DCBSequencedEvent]:
        return [_sequenced(event, self._scope) for event in window.events]

    def _tags(self, event: DCBEvent) -> tuple[str, ...]:
        own = self._scope.tags_written
        if names_an_application(tag for tag in event.tags if tag not in own):
            raise library.ProgrammingError(f"a tag that begins with {TAG_PREFIX} names the writer, and is not given")
        return tuple(dict.fromkeys((*event.tags, *own)))


class VarveReadResponse(DCBReadResponse):
    """Events as they stood when the reading began, fetched a window at a time.

    `head` is the log's last position at that moment, or with a limit that of the last event that was fetched.
    """

    def __init__(self, found: Iterator[MatchedWindow], scope: Scope, *, has_limit: bool) -> None:
        self._windows = found
        self._scope = scope
        self._has_limit = has_limit
        self._head: int | None = None
        self._events: Iterator[MatchedEvent] = iter(())
        self._fetch()

    @property
    def head(self) -> int | None:
        return self._head

    def __next__(self) -> DCBSequencedEvent:
        while True:
            for event in self._events:
                return _sequenced(event, self._scope)
            if not self._fetch():
                raise StopIteration

    def _fetch(self) -> bool:
        """Go to the next window, if there is one."""
        for window in islice(self._windows, 1):
            self._events = iter(window.events)
            if not self._has_limit:
                self._head = window.upto or None
            elif window.events:
                self._head = window.events[-1].position
            return True
        return False


class VarveDCBSubscription(DCBListenNotifySubscription[VarveDCBRecorder]):
    """Follows the events that match a query."""

    def __init__(
        self,
        recorder: VarveDCBRecorder,
        datastore: Datastore,
        query: DCBQuery | None = None,
        after: int | None = None,
    ) -> None:
        super().__init__(recorder, query, after)
        self._wake_thread = WakeThread(datastore, self._has_been_notified, lambda: self._has_been_stopped)

    def __exit__(self, *args: object, **kwargs: Any) -> None:
        try:
            super().__exit__(*args, **kwargs)
        finally:
            self._wake_thread.join()

    def _pull(self) -> None:
        """Hand over what is new; where nothing matches, the next pull begins behind it all the same."""
        self._has_been_notified.clear()
        for window in self._recorder.matching(self._query, self._last_position):
            if self._has_been_stopped:
                return
            if window.events:
                try:
                    self._events_queue.put(self._recorder.sequenced(window))
                except library.ShutDown:
                    return
            self._last_position = window.scanned_to


def _items(query: DCBQuery, scope: Scope) -> tuple[BoundaryItem, ...]:
    """Return what `query` matches; one without items matches every event of the scope."""
    if not query.items:
        return (BoundaryItem(tags=scope.tags),)
    return tuple(BoundaryItem(tuple(item.types), (*item.tags, *scope.tags)) for item in query.items)


def _sequenced(event: MatchedEvent, scope: Scope) -> DCBSequencedEvent:
    tags = [tag for tag in event.tags if tag not in scope.tags_written]
    return DCBSequencedEvent(DCBEvent(event.topic, event.data, tags), event.position)
