"""Follows the log for the library's subscriptions: woken by notifications, and by a clock in case one was lost."""

from collections.abc import Callable, Sequence
from threading import Event, Thread
from time import monotonic, sleep
from typing import TYPE_CHECKING, Any

import psycopg
from eventsourcing import persistence as library

from eventstore.datastore import Datastore
from eventstore.fault_log import FAULTS
from eventstore.wake import CHANNEL

if TYPE_CHECKING:
    from eventstore.recorders import VarveApplicationRecorder

_STOP_SECONDS = 0.1
_POLL_SECONDS = 1.0


class WakeThread:
    """Sets `is_due` after every append, and now and then, until the subscription is stopped."""

    def __init__(self, datastore: Datastore, is_due: Event, is_stopped: Callable[[], bool]) -> None:
        self._datastore = datastore
        self._is_due = is_due
        self._is_stopped = is_stopped
        self._thread = Thread(target=self._listen, name="wake")
        self._thread.start()

    def join(self) -> None:
        """Wait for its end, which follows that of the subscription."""
        self._thread.join()

    def _listen(self) -> None:
        while not self._is_stopped():
            try:
                with self._datastore.connect() as connection:
                    connection.execute(f"listen {CHANNEL}")
                    self._wake_by(connection)
            except psycopg.Error as error:
                FAULTS.note("wake.listener_lost", error, channel=CHANNEL)
                self._is_due.set()
                sleep(_POLL_SECONDS)

    def _wake_by(self, connection: psycopg.Connection[Any]) -> None:
        next_poll = monotonic()  # at once: events may have come before the connection listened
        while not self._is_stopped():
            is_notified = any(True for _ in connection.notifies(timeout=_STOP_SECONDS, stop_after=1))
            if is_notified or monotonic() >= next_poll:
                self._is_due.set()
                next_poll = monotonic() + _POLL_SECONDS


class LogSubscription(library.ListenNotifySubscription["VarveApplicationRecorder"]):
    """Follows the application sequence of a recorder."""

    def __init__(
        self,
        recorder: "VarveApplicationRecorder",
        datastore: Datastore,
        gt: int | None = None,
        topics: Sequence[str] = (),
    ) -> None:
        super().__init__(recorder, gt, topics)
        self._wake_thread = WakeThread(datastore, self._has_been_notified, lambda: self._has_been_stopped)

    def __exit__(self, *args: object, **kwargs: Any) -> None:
        try:
            super().__exit__(*args, **kwargs)
        finally:
            self._wake_thread.join()

    def _pull(self) -> None:
        """Hand over what is new; where nothing matches, the next pull begins behind it all the same."""
        self._has_been_notified.clear()
        for found, scanned_to in self._recorder.notifications_after(self._last_notification_id or 0, self._topics):
            if self._has_been_stopped:
                return
            if found:
                try:
                    self._notifications_queue.put(found)
                except library.ShutDown:
                    return
            self._last_notification_id = scanned_to
