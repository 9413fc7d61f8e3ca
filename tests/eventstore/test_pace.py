"""When two batches take turns, and how large they are then."""

from dataclasses import dataclass

import pytest

from eventstore.pace import Pace


@dataclass
class Times:
    """A clock, and the processor's time of a thread."""

    now: float = 0.0
    worked: float = 0.0


def paced(*, call: float, work: float, appends: int) -> Pace:
    """Return a pace that has seen many batches of one kind: seconds of a call, and of work for each append."""
    times = Times()
    pace = Pace(lambda: times.now, lambda: times.worked)
    for _ in range(50):
        times.worked += work * appends
        pace.began()
        times.now += call
        pace.ended(appends)
    return pace


def test_a_pace_that_has_seen_nothing_takes_everything():
    assert Pace().share(waiting=32, answered=0) == 32


def test_batches_take_turns_where_the_work_takes_longer_than_the_commit():
    pace = paced(call=0.0005, work=0.00004, appends=16)
    assert pace.takes_turns
    assert pace.share(waiting=32, answered=0) == 16  # the other half goes while these callers are answered
    assert pace.share(waiting=16, answered=16) == 16
    assert pace.share(waiting=1, answered=0) == 1


@pytest.mark.parametrize(
    ("call", "work", "appends"),
    [(0.005, 0.00004, 32), (0.0004, 0.00004, 1)],
    ids=["a slow disk", "a single caller"],
)
def test_everything_goes_into_one_batch_where_the_commit_takes_longer(call, work, appends):
    pace = paced(call=call, work=work, appends=appends)
    assert not pace.takes_turns
    assert pace.share(waiting=32, answered=0) == 32


def test_a_disk_that_becomes_slow_ends_the_turns():
    times = Times()
    pace = Pace(lambda: times.now, lambda: times.worked)
    seen = []
    for call in [0.0005] * 30 + [0.01] * 30:
        times.worked += 0.00004 * 16
        pace.began()
        times.now += call
        pace.ended(16)
        seen.append(pace.takes_turns)
    assert seen[29]
    assert not seen[-1]
