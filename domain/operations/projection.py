"""A projection as operators find it: its generations, and which of their requests have something to do.

It is not derived from events of its own: workers make generations and swap them. Requests are decided on what stands in
the database, with the requests that are in the log and not carried out yet folded into it.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Literal, assert_never

from domain.operations.errors import (
    AlreadyPaused,
    EventIsNotParked,
    EventIsSkippedAlready,
    GenerationNotThere,
    NoRebuildRunning,
    NothingIsParked,
    NothingIsPaused,
    NothingToRollBackTo,
    RebuildIsNotHeld,
    RebuildIsRunning,
)
from domain.operations.events import (
    ParkedEventSkipped,
    ParkedEventsRetryRequested,
    ProjectionPaused,
    ProjectionRebuildCancelled,
    ProjectionRebuildRequested,
    ProjectionRequest,
    ProjectionResumed,
    ProjectionRollbackRequested,
    ProjectionSwapRequested,
    RebuildPurpose,
)

Status = Literal["building", "live", "retired", "kept"]
Purpose = RebuildPurpose | Literal["as_of"]

_BUILT: dict[str, str] = {
    "swap": "to be read when it has caught up",
    "hold": "to wait until it is swapped in",
    "verify": "to be compared with the live one",
    "repair": "to repair a tenant's rows",
}


@dataclass(frozen=True, slots=True)
class FoundGeneration:
    """One generation; `pause_reason` is None as long as workers may run it."""

    number: int
    status: Status
    purpose: Purpose
    live_since: datetime | None = None
    pause_reason: str | None = None

    @property
    def is_run(self) -> bool:
        """Whether workers run it, or would if it were not paused."""
        return self.status in {"live", "building"}

    @property
    def is_rebuild(self) -> bool:
        return self.status == "building" and self.purpose != "as_of"


@dataclass(frozen=True, slots=True)
class FoundEvent:
    """The event that a retry or a skip names.

    Attributes:
        is_parked: one of the generations has put it aside.
        is_parked_where_run: one that workers run has.
        is_standing: lanes stand before it, since no worker's code knows it.
        is_skipped: the projection does without it already.
        head: the token of the log's end, if the position lies beyond it; None otherwise.
        is_of_this_log: false for a position that this log's present history does not have.
    """

    token: str
    is_parked: bool = False
    is_parked_where_run: bool = False
    is_standing: bool = False
    is_skipped: bool = False
    head: str | None = None
    is_of_this_log: bool = True


@dataclass(frozen=True, slots=True)
class ProjectionState:
    """What there is of a projection; `newest` is the number of its last generation, there or dropped."""

    projection: str
    generations: tuple[FoundGeneration, ...] = ()
    newest: int = 0
    parked: int = 0
    """Events put aside in generations that workers run."""
    event: FoundEvent | None = None

    @property
    def live(self) -> FoundGeneration | None:
        return next((each for each in self.generations if each.status == "live"), None)

    @property
    def rebuild(self) -> FoundGeneration | None:
        return next((each for each in self.generations if each.is_rebuild), None)

    @property
    def before(self) -> FoundGeneration | None:
        """The generation that a rollback goes to."""
        retired = [each for each in self.generations if each.status == "retired" and each.live_since is not None]
        return max(retired, key=lambda each: each.number, default=None) if self.live else None

    @property
    def run(self) -> Iterable[FoundGeneration]:
        return [each for each in self.generations if each.is_run]


def require(state: ProjectionState, request: ProjectionRequest) -> None:
    """Refuse a request that has nothing to do.

    Raises:
        DomainError: the refusal, with what there is.
    """
    match request:
        case ProjectionRebuildRequested():
            _require_no_rebuild(state)
        case ProjectionSwapRequested():
            _require_held(state)
        case ProjectionRebuildCancelled():
            _require_rebuild(state)
        case ProjectionRollbackRequested():
            _require_before(state)
        case ProjectionPaused(generation=number):
            _require_running(state, number)
        case ProjectionResumed(generation=number):
            _require_paused(state, number)
        case ParkedEventsRetryRequested():
            _require_parked(state)
        case ParkedEventSkipped():
            _require_skippable(state)
        case _:
            assert_never(request)


def evolve(state: ProjectionState, request: ProjectionRequest) -> ProjectionState:
    """Return the state after a request is carried out; one that has nothing to do changes nothing."""
    match request:
        case ProjectionRebuildRequested(purpose=purpose) if state.rebuild is None:
            made = FoundGeneration(state.newest + 1, "building", purpose)
            return replace(state, generations=(*state.generations, made), newest=made.number)
        case ProjectionSwapRequested() if state.rebuild is not None and state.rebuild.purpose == "hold":
            return _with(state, replace(state.rebuild, purpose="swap"))
        case ProjectionRebuildCancelled() if state.rebuild is not None:
            return _with(state, replace(state.rebuild, status="retired"))
        case ProjectionRollbackRequested() if state.rebuild is None and state.before is not None:
            return _with(state, replace(state.before, status="building", purpose="swap", pause_reason=None))
        case ProjectionPaused(generation=number, reason=reason):
            running = [each for each in state.run if number in {None, each.number} and each.pause_reason is None]
            return _with(state, *(replace(each, pause_reason=reason) for each in running))
        case ProjectionResumed(generation=number):
            named = [each for each in state.run if number in {None, each.number}]
            return _with(state, *(replace(each, pause_reason=None) for each in named))
        case ParkedEventSkipped(position=token) if state.event is not None and state.event.token == token:
            return replace(state, event=replace(state.event, is_skipped=True))
        case _:
            return state


def described(state: ProjectionState) -> str:
    """Return a sentence about what there is."""
    live, rebuild, before = state.live, state.rebuild, state.before
    parts = ["no generation is live yet" if live is None else _of_live(live)]
    if rebuild is None:
        parts.append("no rebuild is running")
    else:
        parts.append(f"generation {rebuild.number} is being filled, {_BUILT[rebuild.purpose]}")
    if before is not None:
        parts.append(f"generation {before.number} is kept for a rollback")
    paused = [f"generation {each.number} ({each.pause_reason})" for each in state.run if each.pause_reason is not None]
    parts.append(f"paused: {', '.join(paused)}" if paused else "nothing is paused")
    parts.append(f"events that are parked: {state.parked}" if state.parked else "nothing is parked")
    sentence = ", ".join(parts)
    return f"{sentence[0].upper()}{sentence[1:]}."


def _of_live(live: FoundGeneration) -> str:
    since = "" if live.live_since is None else f" since {live.live_since:%Y-%m-%d %H:%M:%S} UTC"
    return f"generation {live.number} is live{since}"


def _with(state: ProjectionState, *changed: FoundGeneration) -> ProjectionState:
    by_number = {each.number: each for each in changed}
    return replace(state, generations=tuple(by_number.get(each.number, each) for each in state.generations))


def _named(state: ProjectionState, number: int | None) -> Iterable[FoundGeneration]:
    """Return the generations that workers run, or the one of this number.

    Raises:
        GenerationNotThere: there is none.
    """
    named = [each for each in state.run if number in {None, each.number}]
    if not named:
        raise GenerationNotThere(state.projection, described(state))
    return named


def _require_no_rebuild(state: ProjectionState) -> None:
    if state.rebuild is not None:
        raise RebuildIsRunning(state.projection, described(state))


def _require_rebuild(state: ProjectionState) -> FoundGeneration:
    if state.rebuild is None:
        raise NoRebuildRunning(state.projection, described(state))
    return state.rebuild


def _require_held(state: ProjectionState) -> None:
    if _require_rebuild(state).purpose != "hold":
        raise RebuildIsNotHeld(state.projection, described(state))


def _require_before(state: ProjectionState) -> None:
    _require_no_rebuild(state)
    if state.before is None:
        raise NothingToRollBackTo(state.projection, described(state))


def _require_running(state: ProjectionState, number: int | None) -> None:
    if all(each.pause_reason is not None for each in _named(state, number)):
        raise AlreadyPaused(state.projection, described(state))


def _require_paused(state: ProjectionState, number: int | None) -> None:
    if all(each.pause_reason is None for each in _named(state, number)):
        raise NothingIsPaused(state.projection, described(state))


def _require_parked(state: ProjectionState) -> None:
    event = state.event
    if event is not None and not event.is_parked_where_run:
        raise EventIsNotParked(state.projection, _about_event(state, event), event.token)
    if not state.parked:
        raise NothingIsParked(state.projection, described(state))


def _require_skippable(state: ProjectionState) -> None:
    event = state.event
    if event is None:
        return
    if event.is_skipped:
        raise EventIsSkippedAlready(state.projection, described(state), event.token)
    if not event.is_parked and not event.is_standing:
        raise EventIsNotParked(state.projection, _about_event(state, event), event.token)


def _about_event(state: ProjectionState, event: FoundEvent) -> str:
    if not event.is_of_this_log:
        return f"The position {event.token} is none of this log's present history."
    if event.head is not None:
        return f"The log ends at {event.head}."
    return described(state)
