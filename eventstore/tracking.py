"""The library's recorders that remember how far an upstream log was read, over ours."""

from eventsourcing import persistence as library

from eventstore.recorders import LogRecorder, VarveApplicationRecorder

_TRACKED_POSITION = """
select position from varve.tracking where tenant = %(tenant)s and application_name = %(name)s
"""


class VarveTrackingRecorder(LogRecorder, library.TrackingRecorder):
    """Tracks positions by appends that have no events: a position is refused when it is not higher than before."""

    def insert_tracking(self, tracking: library.Tracking) -> None:
        """Track a position.

        Raises:
            IntegrityError: it was dealt with before.
        """
        self._append([], tracking=tracking)

    def max_tracking_id(self, application_name: str) -> int | None:
        return self._last_position(_TRACKED_POSITION, name=self._scope.tracked(application_name))


class VarveProcessRecorder(VarveTrackingRecorder, VarveApplicationRecorder, library.ProcessRecorder):
    """Appends events together with the position that they came from, all or nothing."""
