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

import orjson

from eventstore import wire
from eventstore.errors import (
    AlreadyTracked,
    BoundaryCrossed,
    ClaimTaken,
    CounterLimited,
    EventStoreError,
    KeyReused,
    StreamConflict,
)
from eventstore.prepare import (
    APPEND_COLUMNS,
    CHECKED_COLUMNS,
    COMMAND_COLUMNS,
    EVENT_COLUMNS,
    KEY_COLUMNS,
    TAGS_COLUMN,
    PreparedAppend,
    Touched,
)
from eventstore.records import Appended, BoundaryItem, JsonObject
from eventstore.rows import NO_CONDITIONS

PARAMETERS = 39
_AFTER_ROUND = 2  # the columns `tenant` and `id` stand before the round


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
    """The append was given up before it arrived."""


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
        columns = list(zip(*(each.elements for each in appends), strict=True))
        arrays: list[bytes | None] = [
            wire.array(element_type, count, column)
            for element_type, column in zip(APPEND_COLUMNS, columns, strict=True)
        ]
        if all(each.command is None for each in appends):
            arrays[COMMAND_COLUMNS.start : COMMAND_COLUMNS.stop] = [None] * len(COMMAND_COLUMNS)
        if all(each.command is None or each.command.key is None for each in appends):
            arrays[KEY_COLUMNS.start : KEY_COLUMNS.stop] = [None] * len(KEY_COLUMNS)
        rounds = wire.array(wire.INT2, count, map(wire.int2, self.rounds))
        return [
            *arrays[:_AFTER_ROUND],
            rounds,
            *arrays[_AFTER_ROUND:],
            *self._events(),
            *self._checked(),
            *self._conditions(),
        ]

    def _events(self) -> Iterable[bytes | None]:
        count = sum([each.event_count for each in self.appends])
        yield self._numbers(count, [each.event_count for each in self.appends])
        columns = zip(*(each.event_elements for each in self.appends), strict=True)
        has_tags = any(tags for each in self.appends for _, tags in each.marks)
        for index, (element_type, column) in enumerate(zip(EVENT_COLUMNS, columns, strict=True)):
            yield wire.array(element_type, count, column) if has_tags or index != TAGS_COLUMN else None

    def _checked(self) -> Iterable[bytes]:
        count = sum([each.checked_count for each in self.appends])
        yield self._numbers(count, [each.checked_count for each in self.appends])
        columns = zip(*(each.checked_elements for each in self.appends), strict=True)
        for element_type, column in zip(CHECKED_COLUMNS, columns, strict=True):
            yield wire.array(element_type, count, column)

    def _numbers(self, count: int, counts: Iterable[int]) -> bytes:
        """Return the array that says of each of `count` rows which append it is of, when the appends have `counts`."""
        numbers = [wire.int4(number) * of_append for number, of_append in enumerate(counts, start=1)]
        return wire.array(wire.INT4, count, numbers)

    def _conditions(self) -> Iterable[bytes | None]:
        claims: list[tuple[int, str, str | None]] = []
        counters: list[tuple[int, str, int, int]] = []
        tracked: list[tuple[int, str, int]] = []
        boundaries: list[JsonObject] = []
        for number, each in enumerate(self.appends, start=1):
            conditions = each.conditions
            if conditions is NO_CONDITIONS:
                continue
            claims += [(number, claim, None) for claim in conditions.claims.released]
            claims += [(number, claim, stream) for claim, stream in conditions.claims.taken.items()]
            counters += [(number, counter.name, counter.add, counter.limit) for counter in conditions.counters]
            if conditions.tracked is not None:
                tracked.append((number, conditions.tracked.application_name, conditions.tracked.position))
            if conditions.boundary is not None:
                after = conditions.boundary.after
                boundaries += [
                    {"append": number, "after": after, "topics": list(item.topics), "tags": list(item.tags)}
                    for item in conditions.boundary.items
                ]
        yield from _arrays(claims, (wire.INT4, wire.int4), (wire.TEXT, wire.text), (wire.TEXT, wire.text))
        yield from _arrays(
            counters, (wire.INT4, wire.int4), (wire.TEXT, wire.text), (wire.INT8, wire.int8), (wire.INT8, wire.int8)
        )
        yield from _arrays(tracked, (wire.INT4, wire.int4), (wire.TEXT, wire.text), (wire.INT8, wire.int8))
        yield b"\x01" + orjson.dumps(boundaries) if boundaries else None

    def outcomes(self, answer: BatchAnswer) -> list[Outcome]:
        """Return each append's own outcome, in the order of `appends`."""
        outcomes: list[Outcome] = []
        reached = answer.head
        refusals = answer.refusals
        for number, append in enumerate(self.appends, start=1):
            refusal = refusals.get(str(number)) if refusals else None
            if refusal is None:
                reached += append.event_count
                outcomes.append(_appended(append, reached, answer))
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


def _arrays(rows: Sequence[tuple[Any, ...]], *columns: tuple[wire.ElementType, Any]) -> Iterable[bytes | None]:
    """Return an array for each of `columns`, or null for each when there are no rows."""
    if not rows:
        return itertools.repeat(None, len(columns))
    return (
        wire.array(element_type, len(rows), [encode(row[index]) for row in rows])
        for index, (element_type, encode) in enumerate(columns)
    )


def _appended(append: PreparedAppend, position: int, answer: BatchAnswer) -> Appended:
    command = append.command
    if command is None:
        return Appended(position, answer.epoch, answer.recorded_at, append.append_id, "accepted", {}, None, False)
    return Appended(
        position=position,
        epoch=answer.epoch,
        recorded_at=answer.recorded_at,
        command_id=command.command_id,
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
