"""Folds waiting appends into the one call that stores them, and takes its answer apart."""

import functools
import itertools
import operator
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from eventstore import wire
from eventstore.encode import APPEND_COLUMNS, COMMAND_COLUMNS, KEY_COLUMNS, PART_COLUMNS, TAGS_COLUMN, Rows
from eventstore.errors import (
    AlreadyTracked,
    BoundaryCrossed,
    ClaimTaken,
    CounterLimited,
    EventStoreError,
    KeyReused,
    StreamConflict,
)
from eventstore.prepare import PreparedAppend, Touched
from eventstore.records import Appended, BoundaryItem

PARAMETERS = len(APPEND_COLUMNS) + 1 + sum(len(columns) + 1 for columns in PART_COLUMNS)
"""Of `varve.append`: the round of each append is one more, and so is the append of each row."""
_AFTER_ROUND = 2  # the columns `tenant` and `id` stand before the round
_EVENT_TAGS = len(APPEND_COLUMNS) + 2 + TAGS_COLUMN


@dataclass(frozen=True, slots=True)
class BatchAnswer:
    """What the append function answers: the log's head before the batch, and refusals by the number of the append."""

    epoch: str
    head: int
    recorded_at: datetime
    refusals: Mapping[str, Any]


class Again:
    """The append is to be sent again with the next batch: a refusal before it has left its counters open."""


class Abandoned:
    """The append was given up before it arrived, so its id is refused for ever: it is to be sent under the next one."""


Outcome = Appended | EventStoreError | Again | Abandoned


@dataclass(frozen=True, slots=True)
class Batch:
    """Appends in the order of their positions, each with its round: those of one round don't touch one another.

    `order` says where each stood among those that the batch was made of.
    """

    appends: Sequence[PreparedAppend]
    rounds: Sequence[int]
    order: Sequence[int]

    @classmethod
    def of(cls, appends: Sequence[PreparedAppend]) -> "Batch":
        """Sort `appends` into rounds; of two that touch the same thing the earlier one comes first."""
        if len(appends) == 1:
            return cls(appends, (1,), (0,))
        if _are_independent(appends):
            return cls(appends, (1,) * len(appends), range(len(appends)))
        rounds = _Rounds(has_lone_counters=any(each.is_resent_alone for each in appends))
        placed = sorted((rounds.place(each), index) for index, each in enumerate(appends))
        order = [index for _, index in placed]
        return cls([appends[index] for index in order], [number for number, _ in placed], order)

    def parameters(self) -> list[bytes | None]:
        """Return the binary parameters of `varve.append`."""
        appends, count = self.appends, len(self.appends)
        width = COMMAND_COLUMNS.start
        if any(each.command is not None for each in appends):
            has_keys = any(each.command is not None and each.command.key is not None for each in appends)
            width = KEY_COLUMNS.stop if has_keys else KEY_COLUMNS.start
        columns = zip(*(each.elements[:width] for each in appends), strict=True)
        arrays: list[bytes | None] = [
            wire.array(element_type, count, column)
            for element_type, column in zip(APPEND_COLUMNS[:width], columns, strict=True)
        ]
        arrays += [None] * (len(APPEND_COLUMNS) - width)
        rounds = wire.array(wire.INT2, count, map(wire.int2, self.rounds))
        parameters = [*arrays[:_AFTER_ROUND], rounds, *arrays[_AFTER_ROUND:]]
        for types, parts in zip(PART_COLUMNS, zip(*(each.parts for each in appends), strict=True), strict=True):
            parameters += _arrays(types, parts)
        if not any(tags for each in appends for _, tags in each.marks):
            parameters[_EVENT_TAGS] = None
        return parameters

    def outcomes(self, answer: BatchAnswer) -> list[Outcome]:
        """Return each append's own outcome, in the order of `appends`."""
        outcomes: list[Outcome] = []
        reached = answer.head
        refusals = answer.refusals
        for number, append in enumerate(self.appends, start=1):
            refusal = refusals.get(str(number)) if refusals else None
            if refusal is None:
                reached += append.event_count
                outcomes.append(stored(append, reached, answer))
            else:
                outcomes.append(_refused(append, refusal, answer.epoch))
        return outcomes


def _are_independent(appends: Sequence[PreparedAppend]) -> bool:
    """Whether it is plain that no two of `appends` touch the same, which is so in most batches."""
    if any(each.is_resent_alone for each in appends):
        return False
    touched = [touched for each in appends for touched in each.touched]
    if len(set(touched)) < len(touched):
        return False
    bounded = [(number, each) for number, each in enumerate(appends) if each.conditions.boundary is not None]
    return not bounded or not _cross(appends, bounded)


def _cross(appends: Sequence[PreparedAppend], bounded: Iterable[tuple[int, PreparedAppend]]) -> bool:
    """Whether an event of one append may be in the boundary of another; now and then it only seems so.

    Who has events, who has a tag, who has a topic: each is a set of numbers of appends, and they are sets of bits.
    """
    having: defaultdict[tuple[str, ...], int] = defaultdict(int)
    for number, append in enumerate(appends):
        for topic, tags in append.marks:
            having[append.tenant,] |= 1 << number
            having[append.tenant, "topic", topic] |= 1 << number
            for tag in tags:
                having[append.tenant, "tag", tag] |= 1 << number
    for number, append in bounded:
        for item in append.conditions.boundary.items if append.conditions.boundary else ():
            found = having[append.tenant,] & ~(1 << number)
            for tag in item.tags:
                found &= having[append.tenant, "tag", tag]
            if found and item.topics:
                found &= functools.reduce(operator.or_, (having[append.tenant, "topic", each] for each in item.topics))
            if found:
                return True
    return False


class _Rounds:
    """Finds the first round in which an append sees all that came before it and touches the same."""

    def __init__(self, *, has_lone_counters: bool) -> None:
        self._has_lone_counters = has_lone_counters
        self._last: dict[Touched, int] = {}
        self._counted: dict[tuple[str, str], int] = {}
        self._marks: defaultdict[tuple[str, str, str], list[tuple[int, str, tuple[str, ...]]]] = defaultdict(list)
        self._boundaries: list[tuple[int, str, BoundaryItem]] = []

    def place(self, append: PreparedAppend) -> int:
        number = max(
            1 + max((self._last.get(each, 0) for each in append.touched), default=0),
            self._not_before_counts(append),
            self._after_events_in_its_boundary(append),
            self._not_before_boundaries_around(append),
        )
        for each in append.touched:
            self._last[each] = number
        self._note(append, number)
        return number

    def _not_before_counts(self, append: PreparedAppend) -> int:
        """Those that share a counter may share a round, which adds them up in order, but not overtake one another."""
        counters = append.conditions.counters
        if not counters:
            return 1
        gap = 1 if self._has_lone_counters else 0
        return max(self._counted.get((append.tenant, counter.name), 0) + gap for counter in counters)

    def _after_events_in_its_boundary(self, append: PreparedAppend) -> int:
        if append.conditions.boundary is None:
            return 1
        return 1 + max(
            (
                number
                for item in append.conditions.boundary.items
                for number, topic, tags in self._marks[_first_mark(append.tenant, item)]
                if _matches(item, topic, tags)
            ),
            default=0,
        )

    def _not_before_boundaries_around(self, append: PreparedAppend) -> int:
        """A round checks before it writes: an append may share that of a boundary which came before it."""
        return max(
            (
                number
                for number, tenant, item in self._boundaries
                if tenant == append.tenant and any(_matches(item, topic, tags) for topic, tags in append.marks)
            ),
            default=1,
        )

    def _note(self, append: PreparedAppend, number: int) -> None:
        for counter in append.conditions.counters:
            self._counted[append.tenant, counter.name] = number
        for topic, tags in append.marks:
            mark = (number, topic, tags)
            self._marks[append.tenant, "", ""].append(mark)
            for tag in tags:
                self._marks[append.tenant, "tag", tag].append(mark)
        if append.conditions.boundary is not None:
            self._boundaries += [(number, append.tenant, item) for item in append.conditions.boundary.items]


def _first_mark(tenant: str, item: BoundaryItem) -> tuple[str, str, str]:
    return (tenant, "tag", item.tags[0]) if item.tags else (tenant, "", "")


def _matches(item: BoundaryItem, topic: str, tags: tuple[str, ...]) -> bool:
    return (not item.topics or topic in item.topics) and set(item.tags) <= set(tags)


def _arrays(types: Sequence[wire.ElementType], parts: Sequence[Rows]) -> Iterable[bytes | None]:
    """Return the array that says of each row which append it is of, and one for each column; nulls without rows."""
    count = sum([rows.number for rows in parts])
    if not count:
        return itertools.repeat(None, 1 + len(types))
    appends = [wire.int4(append) * rows.number for append, rows in enumerate(parts, start=1) if rows.number]
    columns = zip(*[rows.columns for rows in parts if rows.number], strict=True)
    return (
        wire.array(element_type, count, column)
        for element_type, column in zip((wire.INT4, *types), (appends, *columns), strict=True)
    )


def stored(append: PreparedAppend, position: int, answer: BatchAnswer) -> Appended:
    """Return the outcome of an append that was not stored before, and now is, up to `position`."""
    command = append.command
    if command is None:
        return Appended(position, answer.epoch, answer.recorded_at, append.append_id, "accepted", {}, None, False)
    return Appended(
        position=position,
        epoch=answer.epoch,
        recorded_at=answer.recorded_at,
        command_id=append.append_id,
        status=command.status,
        outcome=command.outcome,
        error=command.error,
        is_repeated=False,
    )


def _refused(append: PreparedAppend, refusal: Mapping[str, Any], epoch: str) -> Outcome:
    match refusal["result"]:
        case "known":
            return known(refusal, epoch)
        case "conflict":
            return StreamConflict(refusal["stream"], refusal["expected"], refusal["actual"])
        case "claimed":
            return ClaimTaken(refusal["claim"], refusal["stream"])
        case "limited":
            return CounterLimited(refusal["counter"], refusal["value"], refusal["limit"])
        case "crossed":
            return BoundaryCrossed(refusal["position"])
        case "tracked":
            return AlreadyTracked(refusal["application"], refusal["position"])
        case "key_reused":
            key = append.command.key if append.command else None
            return KeyReused(key.key if key else "")
        case "again":
            return Again()
        case "abandoned":
            return Abandoned()
        case unexpected:
            raise AssertionError(f"varve.append answered {unexpected!r}")


def known(answer: Mapping[str, Any], epoch: str) -> Appended:
    """Return the outcome of a command that was stored before."""
    return Appended(
        position=answer["position"],
        epoch=epoch,
        recorded_at=datetime.fromisoformat(answer["recorded"]).astimezone(UTC),
        command_id=UUID(answer["command"]),
        status=answer["status"],
        outcome=answer["outcome"],
        error=answer["error"],
        is_repeated=True,
    )
