"""The `eventsourcing` library's recorders over our log, chosen by `PERSISTENCE_MODULE=eventstore.persistence`."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from threading import Thread
from time import monotonic, sleep, time_ns
from typing import Any
from uuid import UUID

import psycopg
import structlog
from eventsourcing import persistence as library
from eventsourcing.utils import Environment, EnvType
from psycopg.rows import tuple_row
from psycopg_pool import ConnectionPool

from domain.shared.ids import uuid7
from eventstore.appender_thread import AppenderThread
from eventstore.errors import EventStoreError, InvalidAppend, StoreUnavailable
from eventstore.mapper import VersionedStoredEvent
from eventstore.prepare import PreparedAppend, event_row, prepare_rows
from eventstore.records import Appended, Claims, EventMetadata, Tracked
from eventstore.rows import Conditions
from eventstore.sessions import SESSION_OPTIONS
from eventstore.snapshots import SAVE_SNAPSHOT, snapshot_parameters
from eventstore.wake import CHANNEL

log = structlog.get_logger()

current_tenant: ContextVar[str] = ContextVar("current_tenant")
"""The tenant whose events the recorders of this context write and read; see `acting_for`."""

_CONNECTIONS = 8
_STOP_SECONDS = 0.1
_POLL_SECONDS = 1.0
_HIGHEST_VERSION = 2**31 - 1
_HIGHEST_POSITION = 2**63 - 1

_SELECT_EVENTS = """
select stream, version, topic, data, class_version from varve.events
where tenant = %(tenant)s and stream = %(stream)s and version > %(gt)s and version <= %(lte)s
order by version {direction} limit %(limit)s::bigint
"""
_SELECT_SNAPSHOTS = """
select stream, version, topic, data, schema_version from varve.snapshots
where tenant = %(tenant)s and stream = %(stream)s and version > %(gt)s and version <= %(lte)s
  and schema_version = coalesce(%(schema_version)s::smallint, schema_version)
order by version {direction}, schema_version {direction} limit %(limit)s::bigint
"""
_SELECT_NOTIFICATIONS = """
select stream, version, topic, data, position, class_version from varve.events
where tenant = %(tenant)s and position >= %(first)s and position <= %(last)s and stream is not null
  and (cardinality(%(topics)s::text[]) = 0 or topic = any (%(topics)s::text[]))
order by position limit %(limit)s
"""
_LAST_POSITION = """
select position from varve.events where tenant = %(tenant)s and stream is not null order by position desc limit 1
"""
_HAS_SNAPSHOT = """
select from varve.snapshots where tenant = %(tenant)s and stream = %(stream)s and version = %(version)s
    and schema_version = %(schema_version)s
"""


class TenantNotSet(EventStoreError):
    """No tenant is set: wrap what uses the library's application in `with acting_for(tenant):`."""


@contextmanager
def acting_for(tenant: str) -> Iterator[None]:
    """Let the recorders write and read the events of `tenant` within the block. New threads don't inherit it."""
    token = current_tenant.set(tenant)
    try:
        yield
    finally:
        current_tenant.reset(token)


def tenant_of_context() -> str:
    """Return the tenant of the surrounding `acting_for`.

    Raises:
        TenantNotSet: there is none.
    """
    try:
        return current_tenant.get()
    except LookupError:
        raise TenantNotSet(TenantNotSet.__doc__) from None


@dataclass(frozen=True, eq=False)
class VersionedNotification(VersionedStoredEvent, library.Notification):
    """A notification of the library that keeps the version of its event's class."""


class Datastore:
    """The writer role's connections for threads; opened when first used, safe to share."""

    def __init__(self, database_url: str) -> None:
        self._database_url = database_url
        self._appender = AppenderThread(database_url)
        self._pool: ConnectionPool[psycopg.Connection[Any]] = ConnectionPool(
            database_url,
            min_size=1,
            max_size=_CONNECTIONS,
            timeout=10.0,
            kwargs={"autocommit": True, "options": SESSION_OPTIONS},
            # Threads rarely come here, so a connection may have died since; better to ask than an unknown outcome.
            check=ConnectionPool.check_connection,
            open=False,
            name="varve_writer_of_library",
        )

    @contextmanager
    def connection(self) -> Iterator[psycopg.Connection[Any]]:
        """Lend a connection in autocommit mode; psycopg's errors become the library's."""
        with _library_errors():
            self._pool.open()
            with self._pool.connection() as connection:
                yield connection

    def append(self, prepared: PreparedAppend) -> Appended:
        """Append through the datastore's own appender; its errors become the library's."""
        try:
            return self._appender.append(prepared)
        except StoreUnavailable as error:
            raise library.OperationalError(str(error)) from error
        except InvalidAppend as error:
            raise library.DataError(str(error)) from error
        except EventStoreError as error:
            raise library.IntegrityError(f"{type(error).__name__}: {error}") from error

    def connect(self) -> psycopg.Connection[Any]:
        """Return a connection beside the pool, for listening; its errors are psycopg's own."""
        return psycopg.connect(self._database_url, autocommit=True)

    def close(self) -> None:
        self._appender.close()
        self._pool.close()


Tenant = Callable[[], str]


class VarveAggregateRecorder(library.AggregateRecorder):
    """Appends to streams and reads them back."""

    def __init__(self, datastore: Datastore, tenant: Tenant = tenant_of_context) -> None:
        self._datastore = datastore
        self._tenant = tenant

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
        parameters = _stream_parameters(self._tenant(), originator_id, gt, lte, limit)
        with self._datastore.connection() as connection:
            return _stored_events(connection, _SELECT_EVENTS, parameters, desc=desc)

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
        append_id = uuid7(time_ns() // 1_000_000)
        metadata = event_metadata or EventMetadata(
            actor="varve", command_type="Application.save", correlation_id=append_id
        )
        conditions = Conditions(
            claims=claims or Claims(),
            tracked=None if tracking is None else Tracked(tracking.application_name, tracking.notification_id),
        )
        rows = [event_row(stored) for stored in stored_events]
        prepared = prepare_rows(self._tenant(), append_id, rows, metadata.model_dump(mode="json"), conditions)
        position = self._datastore.append(prepared).position
        return range(position - len(rows) + 1, position + 1)


class VarveApplicationRecorder(VarveAggregateRecorder, library.ApplicationRecorder):
    """Shows one tenant's part of the log as the library's application sequence: ids are positions, with gaps."""

    def insert_events(self, stored_events: Sequence[library.StoredEvent], **kwargs: Any) -> Sequence[int] | None:
        """Append as `VarveAggregateRecorder` does, and return the positions."""
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
        parameters = {
            "tenant": self._tenant(),
            "first": (start or 0) + (0 if inclusive_of_start else 1),
            "last": _HIGHEST_POSITION if stop is None else stop,
            "topics": list(topics),
            "limit": limit,
        }
        with self._datastore.connection() as connection:
            cursor = connection.cursor(row_factory=tuple_row, binary=True)
            # The columns stand in the order of the fields.
            return [VersionedNotification(*row) for row in cursor.execute(_SELECT_NOTIFICATIONS, parameters)]

    def max_notification_id(self) -> int | None:
        with self._datastore.connection() as connection:
            row = connection.execute(_LAST_POSITION, {"tenant": self._tenant()}).fetchone()
            return None if row is None else int(row[0])

    def subscribe(
        self, gt: int | None = None, topics: Sequence[str] = ()
    ) -> library.Subscription[library.ApplicationRecorder]:
        """Follow the events of the tenant that is set now."""
        tenant = self._tenant()  # the subscription's threads have a context of their own
        recorder = VarveApplicationRecorder(self._datastore, lambda: tenant)
        return LogSubscription(recorder, self._datastore, gt, topics)


class LogSubscription(library.ListenNotifySubscription[library.ApplicationRecorder]):
    """Follows the log: woken by notifications, and by a clock in case one was lost."""

    def __init__(
        self,
        recorder: VarveApplicationRecorder,
        datastore: Datastore,
        gt: int | None = None,
        topics: Sequence[str] = (),
    ) -> None:
        super().__init__(recorder, gt, topics)
        self._datastore = datastore
        self._listen_thread = Thread(target=self._listen)
        self._listen_thread.start()

    def __exit__(self, *args: object, **kwargs: Any) -> None:
        try:
            super().__exit__(*args, **kwargs)
        finally:
            self._listen_thread.join()

    def _listen(self) -> None:
        while not self._has_been_stopped:
            try:
                with self._datastore.connect() as connection:
                    connection.execute(f"listen {CHANNEL}")
                    self._wake_by(connection)
            except psycopg.Error as error:
                log.warning("wake.listener_lost", channel=CHANNEL, error=str(error))
                self._has_been_notified.set()
                sleep(_POLL_SECONDS)

    def _wake_by(self, connection: psycopg.Connection[Any]) -> None:
        next_poll = monotonic()  # at once: events may have come before the connection listened
        while not self._has_been_stopped:
            is_notified = any(True for _ in connection.notifies(timeout=_STOP_SECONDS, stop_after=1))
            if is_notified or monotonic() >= next_poll:
                self._has_been_notified.set()
                next_poll = monotonic() + _POLL_SECONDS


class SnapshotRecorder(library.AggregateRecorder):
    """Stores and reads snapshots; the library sees them as events of another kind."""

    def __init__(self, datastore: Datastore, tenant: Tenant = tenant_of_context) -> None:
        self._datastore = datastore
        self._tenant = tenant

    def insert_events(self, stored_events: Sequence[library.StoredEvent], **kwargs: Any) -> Sequence[int] | None:
        """Store snapshots, all or nothing.

        Raises:
            IntegrityError: the stream has a snapshot of that version.
        """
        tenant = self._tenant()
        with self._datastore.connection() as connection, connection.transaction():
            for stored in stored_events:
                parameters = snapshot_parameters(tenant, stored)
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
        parameters = _stream_parameters(self._tenant(), originator_id, gt, lte, limit)
        with self._datastore.connection() as connection:
            return _stored_events(
                connection, _SELECT_SNAPSHOTS, parameters | {"schema_version": schema_version}, desc=desc
            )


class VarveFactory(library.InfrastructureFactory[library.TrackingRecorder]):
    """Makes the recorders of an application; reads `VARVE_WRITER_DATABASE_URL`, the URL of the role `varve_writer`."""

    WRITER_DATABASE_URL = "VARVE_WRITER_DATABASE_URL"

    def __init__(self, env: Environment | EnvType | None) -> None:
        super().__init__(env)
        database_url = self.env.get(self.WRITER_DATABASE_URL)
        if not database_url:
            raise library.InfrastructureFactoryError(f"{self.WRITER_DATABASE_URL} is not set")
        self._datastore = Datastore(database_url)

    def aggregate_recorder(self, purpose: str = "events") -> library.AggregateRecorder:
        """Return the recorder of snapshots for the purpose ``snapshots``, of events for every other."""
        return self.snapshot_recorder() if purpose == "snapshots" else VarveAggregateRecorder(self._datastore)

    def snapshot_recorder(self) -> SnapshotRecorder:
        return SnapshotRecorder(self._datastore)

    def application_recorder(self) -> library.ApplicationRecorder:
        return VarveApplicationRecorder(self._datastore)

    def tracking_recorder(
        self, tracking_recorder_class: type[library.TrackingRecorder] | None = None
    ) -> library.TrackingRecorder:
        raise library.NotSupportedError("projections keep their positions themselves")

    def process_recorder(self) -> library.ProcessRecorder:
        raise library.NotSupportedError("projections keep their positions themselves")

    def close(self) -> None:
        self._datastore.close()


def _stream_parameters(
    tenant: str, originator_id: UUID | str, gt: int | None, lte: int | None, limit: int | None
) -> dict[str, Any]:
    return {
        "tenant": tenant,
        "stream": str(originator_id),
        "gt": -1 if gt is None else gt,
        "lte": _HIGHEST_VERSION if lte is None else lte,
        "limit": limit,
    }


def _stored_events(
    connection: psycopg.Connection[Any], query: str, parameters: dict[str, Any], *, desc: bool
) -> list[library.StoredEvent]:
    cursor = connection.cursor(row_factory=tuple_row, binary=True)
    # The columns stand in the order of the fields.
    rows = cursor.execute(query.format(direction="desc" if desc else "asc"), parameters)
    return [VersionedStoredEvent(*row) for row in rows]


_ERRORS: tuple[tuple[type[psycopg.Error], type[library.PersistenceError]], ...] = (
    (psycopg.InterfaceError, library.InterfaceError),
    (psycopg.OperationalError, library.OperationalError),
    (psycopg.DataError, library.DataError),
    (psycopg.IntegrityError, library.IntegrityError),
    (psycopg.InternalError, library.InternalError),
    (psycopg.ProgrammingError, library.ProgrammingError),
    (psycopg.NotSupportedError, library.NotSupportedError),
    (psycopg.DatabaseError, library.DatabaseError),
    (psycopg.Error, library.PersistenceError),
)


@contextmanager
def _library_errors() -> Iterator[None]:
    try:
        yield
    except psycopg.Error as error:
        translated = next(ours for theirs, ours in _ERRORS if isinstance(error, theirs))
        raise translated(str(error)) from error
