"""Decides how much of what waits goes into the next batch, so that the server works while Python does."""

import time
from collections.abc import Callable

Seconds = Callable[[], float]

_WEIGHT = 0.2
"""Of the newest batch in the moving averages."""


class Pace:
    """Watches batches go by.

    Callers that append one after another would all end up in one batch, and the server would rest while they are
    answered and make their next appends. Two batches that take turns keep both busy. It costs a commit more, so it pays
    where the Python work of a batch takes longer than what a call costs however little it carries: on a slow disk that
    is the commit, and everything goes into one batch.
    """

    def __init__(self, clock: Seconds = time.perf_counter, worked: Seconds = time.thread_time) -> None:
        """Take a clock, and how long this thread has had a processor."""
        self._clock = clock
        self._worked = worked
        self._call_seconds = 0.0
        self._work_seconds = 0.0  # for each append
        self._started = 0.0
        self._worked_before = worked()
        self._last = 0

    def began(self) -> None:
        """Note that a batch is on its way."""
        self._started = self._clock()

    def ended(self, appends: int) -> None:
        """Note that a batch of so many appends was answered."""
        worked = self._worked()
        self._call_seconds += _WEIGHT * (self._clock() - self._started - self._call_seconds)
        self._work_seconds += _WEIGHT * ((worked - self._worked_before) / appends - self._work_seconds)
        self._worked_before = worked
        self._last = appends

    @property
    def takes_turns(self) -> bool:
        """Whether two batches should take turns; half of a call's time, about, is spent however little it carries."""
        return 2 * self._work_seconds * self._last > self._call_seconds

    def share(self, waiting: int, answered: int) -> int:
        """Return how many of those that wait should go now, when so many more were answered and may come again."""
        return max(1, (waiting + answered + 1) // 2) if self.takes_turns else waiting
