"""Which requests have something to do, in which state, and what they leave to the next one."""

from datetime import UTC, datetime
from typing import Any

import pytest

from domain.operations import errors
from domain.operations.events import (
    ParkedEventSkipped,
    ParkedEventsRetryRequested,
    ProjectionPaused,
    ProjectionRebuildCancelled,
    ProjectionRebuildRequested,
    ProjectionResumed,
    ProjectionRollbackRequested,
    ProjectionSwapRequested,
)
from domain.operations.projection import FoundEvent, FoundGeneration, ProjectionState, described, evolve, require

NAME = "listed"
TOKEN = "0123456789ab-7"
SINCE = datetime(2026, 11, 30, 20, 41, 5, tzinfo=UTC)
LIVE = FoundGeneration(2, "live", "swap", SINCE)
BEFORE = FoundGeneration(1, "retired", "swap", SINCE)
GIVEN_UP = FoundGeneration(1, "retired", "swap")
REBUILD: Any = ProjectionRebuildRequested(projection=NAME, purpose="swap", tenant=None)
HOLD: Any = ProjectionRebuildRequested(projection=NAME, purpose="hold", tenant=None)
SWAP, CANCEL = ProjectionSwapRequested(projection=NAME), ProjectionRebuildCancelled(projection=NAME)
ROLLBACK = ProjectionRollbackRequested(projection=NAME)
PAUSE = ProjectionPaused(projection=NAME, reason="a test", generation=None)
RESUME = ProjectionResumed(projection=NAME, generation=None)
SKIP = ParkedEventSkipped(projection=NAME, position=TOKEN, reason="a test")
RETRY = ParkedEventsRetryRequested(projection=NAME, position=None)


def state(*generations: FoundGeneration, **fields: Any) -> ProjectionState:
    return ProjectionState(NAME, generations or (LIVE,), 2, **fields)


@pytest.mark.parametrize(
    ("before", "request_", "refusal"),
    [
        ((LIVE,), SWAP, errors.NoRebuildRunning),
        ((LIVE,), CANCEL, errors.NoRebuildRunning),
        ((LIVE,), ROLLBACK, errors.NothingToRollBackTo),
        ((LIVE, GIVEN_UP), ROLLBACK, errors.NothingToRollBackTo),
        ((BEFORE,), ROLLBACK, errors.NothingToRollBackTo),
        ((LIVE,), RESUME, errors.NothingIsPaused),
        ((LIVE,), RETRY, errors.NothingIsParked),
        ((LIVE, FoundGeneration(3, "building", "swap")), REBUILD, errors.RebuildIsRunning),
        ((LIVE, BEFORE, FoundGeneration(3, "building", "verify")), ROLLBACK, errors.RebuildIsRunning),
        ((LIVE, FoundGeneration(3, "building", "swap")), SWAP, errors.RebuildIsNotHeld),
        ((LIVE, FoundGeneration(3, "building", "as_of")), CANCEL, errors.NoRebuildRunning),
        ((GIVEN_UP,), PAUSE, errors.GenerationNotThere),
    ],
)
def test_a_request_that_has_nothing_to_do_is_refused(before, request_, refusal):
    with pytest.raises(refusal):
        require(state(*before), request_)


@pytest.mark.parametrize(
    "requests",
    [
        [REBUILD, CANCEL, REBUILD],
        [HOLD, SWAP, CANCEL],
        [PAUSE, RESUME, PAUSE],
        [PAUSE, REBUILD, PAUSE, RESUME],
        [HOLD, CANCEL, HOLD, SWAP],
    ],
)
def test_a_request_counts_for_those_after_it(requests):
    now = state()
    for request in requests:
        require(now, request)
        now = evolve(now, request)


@pytest.mark.parametrize("request_", [REBUILD, HOLD, PAUSE])
def test_the_same_request_twice_is_one_too_many(request_):
    with pytest.raises(errors.DomainError):
        require(evolve(state(), request_), request_)


def test_a_request_with_nothing_to_do_changes_nothing():
    for request in (SWAP, CANCEL, ROLLBACK, RESUME, RETRY, SKIP):
        assert evolve(state(), request) == state()


def test_a_rollback_runs_what_was_paused_when_it_was_live():
    paused = FoundGeneration(1, "retired", "swap", SINCE, "an old reason")
    rebuilt = evolve(state(LIVE, paused), ROLLBACK).rebuild
    assert rebuilt is not None
    assert rebuilt.pause_reason is None


def test_an_event_is_skipped_where_it_is_parked_and_where_lanes_stand_before_it():
    for event in (FoundEvent(TOKEN, is_parked=True), FoundEvent(TOKEN, is_standing=True)):
        found = state(event=event)
        require(found, SKIP)
        with pytest.raises(errors.EventIsSkippedAlready):
            require(evolve(found, SKIP), SKIP)


@pytest.mark.parametrize(
    ("event", "there"),
    [
        (FoundEvent(TOKEN), "Generation 2 is live since 2026-11-30 20:41:05 UTC, no rebuild is running"),
        (FoundEvent(TOKEN, head="0123456789ab-3"), "The log ends at 0123456789ab-3."),
        (FoundEvent(TOKEN, is_of_this_log=False), "is none of this log's present history."),
    ],
)
def test_an_event_that_is_not_parked_is_not_skipped(event, there):
    with pytest.raises(errors.EventIsNotParked) as refused:
        require(state(event=event), SKIP)
    assert there in str(refused.value)


def test_a_refusal_says_what_there_is():
    paused = FoundGeneration(3, "building", "hold", None, "its disk is full")
    assert described(state(LIVE, BEFORE, paused, parked=4)) == (
        "Generation 2 is live since 2026-11-30 20:41:05 UTC,"
        " generation 3 is being filled, to wait until it is swapped in,"
        " generation 1 is kept for a rollback, paused: generation 3 (its disk is full), events that are parked: 4."
    )
