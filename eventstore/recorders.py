"""The library's recorders of events and snapshots over our log."""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from time import time_ns
from typing import Any
from uuid import UUID

from eventsourcing import persistence as library
from psycopg.rows import tuple_row

from domain.shared.ids import uuid7
from eventstore.applications import is_ours
from eventstore.datastore import Datastore, library_errors
from eventstore.mapper import VersionedStoredEvent
from eventstore.matching import MatchedWindow, windows
from eventstore.prepare import event_row, prepare_rows
from eventstore.recorder_subscriptions import LogSubscription
from eventstore.records import BoundaryItem, Claims, EventMetadata, Tracked
from eventstore.rows import Conditions, EventRow
from eventstore.scope import Scope
from eventstore.snapshots import SAVE_SNAPSHOT, snapshot_parameters

_HIGHEST_VERSION = 2**31 - 1

_SELECT_EVENTS = """
select version, topic, data, class_version from varve.events
where tenant = %(tenant)s and stream = %(stream)s and version > %(gt)s and version <= %(lte)s
  and (not %(only_ours)s or {is_ours})
order by version {direction} limit %(limit)s::bigint
"""
_IS_OURS = is_ours("tags")
_SELECT_SNAPSHOTS = """
select version, topic, data, schema_version from varve.snapshots s
where tenant = %(tenant)s and stream = %(stream)s and version > %(gt)s and version <= %(lte)s
  and schema_version = coalesce(%(schema_version)s::smallint, schema_version)
  -- One that was taken while an event in it was voided must not be used.
  and not exists (select from varve.voided v where v.tenant = s.tenant and v.stream = s.stream
                  and v.version <= s.version and v.voided_version > s.version)
order by version {direction}, schema_version {direction} limit %(limit)s::bigint
"""
# By ranges of the primary key, since `tenant = …` lets a plan walk a log that is mostly others'.
_LAST_POSITION = """
select position from varve.events
where (tenant, position) > (%(tenant)s, 0) and (tenant, position) <= (%(tenant)s, 9223372036854775807)
  and stream is not null and (not %(only_ours)s or {is_ours})
order by tenant desc, position desc limit 1
"""
_LAST_TAGGED_POSITION = """
select position from varve.event_tags where tenant = %(tenant)s and tag = %(tag)s order by position desc limit 1
"""
_HAS_SNAPSHOT = """
select from varve.snapshots where tenant = %(tenant)s and stream = %(stream)s and version = %(version)s
    and schema_version = %(schema_version)s
"""


@dataclass(frozen=True, eq=False)
class VersionedNotification(VersionedStoredEvent, library.Notification):
    """A notification of the library that keeps the version of its event's class."""


class LogRecorder(library.Recorder):
    """What all recorders over the log have in common; `scope` is whose part of the log they see."""

    command_type = "Application.save"
    """What the metadata of events says that caused them."""

    def __init__(self, datastore: Datastore, scope: Scope = Scope()) -> None:  # noqa: B008 - an immutable value
        self._datastore = datastore
        self._scope = scope

    def _append(
        self,
        stored_events: Sequence[library.StoredEvent],
        *,
        tracking: library.Tracking | None = None,
        event_metadata: EventMetadata | None = None,
        claims: Claims | None = None,
    ) -> Sequence[int]:
        """Return the positions of the events."""
        if not stored_events and tracking is None:
            return []
        rows = [
            event_row(stored, self._scope.tags_written)._replace(stream=self._scope.stream(stored.originator_id))
            for stored in stored_events
        ]
        conditions = Conditions(claims=claims or Claims(), tracked=self._tracked(tracking))
        position = self._store(rows, conditions, event_metadata)
        return range(position - len(rows) + 1, position + 1)

    def _store(self, rows: Sequence[EventRow], conditions: Conditions, metadata: EventMetadata | None = None) -> int:
        """Return the position of the last of `rows`."""
        tenant, append_id = self._scope.tenant(), uuid7(time_ns() // 1_000_000)
        metadata = metadata or EventMetadata(actor="varve", command_type=self.command_type, correlation_id=append_id)
        with library_errors():
            prepared = prepare_rows(tenant, append_id, rows, metadata.model_dump(mode="json"), conditions)
        return self._datastore.append(prepared).position

    def _tracked(self, tracking: library.Tracking | None) -> Tracked | None:
        if tracking is None:
            return None
        return Tracked(self._scope.tracked(tracking.application_name), tracking.notification_id)

    def _last_position(self, query: str, **parameters: str | bool) -> int | None:
        """Return the one number that a query of the tenant answers."""
        asked = {"tenant": self._scope.tenant(), **parameters}
        with self._datastore.connection() as connection:
            row = connection.execute(query, asked).fetchone()
        return None if row is None else int(row[0])


class VarveAggregateRecorder(LogRecorder, library.AggregateRecorder):
    """Appends to streams and reads them back."""

    def insert_events(self, stored_events: Sequence[library.StoredEvent], **kwargs: Any) -> Sequence[int] | None:
        """Append, all or nothing.

        Args:
            stored_events: of one or more streams; each stream's versions follow on its last one.
            **kwargs: `event_metadata`, an `EventMetadata`, and `claims`, a `Claims`.

        Raises:
            IntegrityError: a stream has moved on, or another stream holds a claim.
            OperationalError: no connection; the outcome is unknown, and a stream's versions tell it.
        """
        self._append(stored_events, **kwargs)
        return None

    def select_events(
        self,
        originator_id: UUID | str,
        *,
        gt: int | None = None,
        lte: int | None = None,
        desc: bool = False,
        limit: int | None = None,
    ) -> Sequence[library.StoredEvent]:
        parameters = _stream_parameters(self._scope, originator_id, gt, lte, limit)
        return _stored_events(self._datastore, _SELECT_EVENTS, parameters, originator_id, desc=desc)


class VarveApplicationRecorder(VarveAggregateRecorder, library.ApplicationRecorder):
    """Shows a scope's part of the log as the library's application sequence: ids are positions, with gaps."""

    def insert_events(self, stored_events: Sequence[library.StoredEvent], **kwargs: Any) -> Sequence[int] | None:
        """Append as `VarveAggregateRecorder` does, and return the positions.

        Args:
            stored_events: of one or more streams.
            **kwargs: those of `VarveAggregateRecorder`, and `tracking`, a `Tracking`, which may also come alone.

        Raises:
            IntegrityError: as there, or the tracked position was dealt with before.
        """
        return list(self._append(stored_events, **kwargs))

    def select_notifications(
        self,
        start: int | None,
        limit: int,
        stop: int | None = None,
        topics: Sequence[str] = (),
        *,
        inclusive_of_start: bool = True,
    ) -> Sequence[library.Notification]:
        after = (start or 0) - (1 if inclusive_of_start else 0)
        found = self.notifications_after(after, topics, stop)
        return list(itertools.islice(itertools.chain.from_iterable(each for each, _ in found), limit))

    def notifications_after(
        self, after: int, topics: Sequence[str] = (), upto: int | None = None
    ) -> Iterator[tuple[Sequence[library.Notification], int]]:
        """Yield notifications in windows, each with the position that it scanned to."""
        items = (BoundaryItem(tuple(topics), self._scope.tags),)
        find, tenant, only_ours = self._datastore.search, self._scope.tenant(), self._scope.is_ours
        for window in windows(find, tenant, items, after, upto=upto, only_ours=only_ours):
            yield self._notifications(window), window.scanned_to

    def _notifications(self, window: MatchedWindow) -> Sequence[library.Notification]:
        originator_id = self._scope.originator_id
        return [
            VersionedNotification(originator_id(stream), version, topic, data, position, class_version)
            for position, stream, version, topic, class_version, data, _ in window.events
            if stream is not None and version is not None
        ]

    def max_notification_id(self) -> int | None:
        for tag in self._scope.tags:
            return self._last_position(_LAST_TAGGED_POSITION, tag=tag)
        last = _LAST_POSITION.format(is_ours=_IS_OURS)
        return self._last_position(last, only_ours=self._scope.is_ours)

    def subscribe(
        self, gt: int | None = None, topics: Sequence[str] = ()
    ) -> library.Subscription[library.ApplicationRecorder]:
        """Follow the events of the tenant that is set now."""
        recorder = VarveApplicationRecorder(self._datastore, self._scope.of_tenant_now())
        return LogSubscription(recorder, self._datastore, gt, topics)


class SnapshotRecorder(LogRecorder, library.AggregateRecorder):
    """Stores and reads snapshots; the library sees them as events of another kind."""

    def insert_events(self, stored_events: Sequence[library.StoredEvent], **kwargs: Any) -> Sequence[int] | None:
        """Store snapshots, all or nothing.

        Raises:
            IntegrityError: the stream has a snapshot of that version.
        """
        tenant = self._scope.tenant()
        with self._datastore.connection() as connection, connection.transaction():
            for stored in stored_events:
                stream = self._scope.stream(stored.originator_id)
                parameters = snapshot_parameters(tenant, stored) | {"stream": stream}
                if connection.execute(_HAS_SNAPSHOT, parameters).fetchone() is not None:
                    raise library.IntegrityError(f"{stored.originator_id} has a snapshot of that version")
                connection.execute(SAVE_SNAPSHOT, parameters)
        return None

    def select_events(
        self,
        originator_id: UUID | str,
        *,
        gt: int | None = None,
        lte: int | None = None,
        desc: bool = False,
        limit: int | None = None,
        schema_version: int | None = None,
    ) -> Sequence[library.StoredEvent]:
        """Return a stream's snapshots, only those of `schema_version` when it is given."""
        parameters = _stream_parameters(self._scope, originator_id, gt, lte, limit)
        parameters["schema_version"] = schema_version
        return _stored_events(self._datastore, _SELECT_SNAPSHOTS, parameters, originator_id, desc=desc)


def _stream_parameters(
    scope: Scope, originator_id: UUID | str, gt: int | None, lte: int | None, limit: int | None
) -> dict[str, Any]:
    return {
        "tenant": scope.tenant(),
        "stream": scope.stream(originator_id),
        "gt": -1 if gt is None else gt,
        "lte": _HIGHEST_VERSION if lte is None else lte,
        "limit": limit,
        "only_ours": scope.is_ours,
    }


def _stored_events(
    datastore: Datastore, query: str, parameters: dict[str, Any], originator_id: UUID | str, *, desc: bool
) -> list[library.StoredEvent]:
    with datastore.connection() as connection:
        cursor = connection.cursor(row_factory=tuple_row, binary=True)
        # The columns stand in the order of the fields.
        rows = cursor.execute(query.format(direction="desc" if desc else "asc", is_ours=_IS_OURS), parameters)
        return [VersionedStoredEvent(originator_id, *row) for row in rows]
