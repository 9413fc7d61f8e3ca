"""What the store has to do, as plain Python: one append after another, each checked and then applied.

Written from the words of the design and not from the store's code. Where several refusals are right, each is.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any, Literal
from uuid import UUID

from eventstore.errors import (
    AlreadyTracked,
    BoundaryCrossed,
    ClaimTaken,
    CounterLimited,
    KeyReused,
    StreamConflict,
)
from eventstore.records import Appended


@dataclass(frozen=True)
class AskedEvent:
    """An event to append; without a stream it has no version."""

    stream: str | None
    version: int | None
    topic: str
    tags: tuple[str, ...]


@dataclass(frozen=True)
class AskedCommand:
    """The record of a command, with its idempotency key and the seconds for which it is remembered, None for never."""

    status: Literal["accepted", "refused", "failed"]
    outcome: str
    key: tuple[str, str, bytes] | None = None
    seconds: int | None = None


@dataclass(frozen=True)
class Asked:
    """An append and its conditions; a boundary is a position and pairs of topics and tags."""

    tenant: str
    append_id: UUID
    events: tuple[AskedEvent, ...] = ()
    expected: tuple[tuple[str, int], ...] = ()
    taken: tuple[tuple[str, str], ...] = ()
    released: tuple[str, ...] = ()
    counters: tuple[tuple[str, int, int], ...] = ()
    tracked: tuple[str, int] | None = None
    boundary: tuple[int, tuple[tuple[tuple[str, ...], tuple[str, ...]], ...]] | None = None
    command: AskedCommand | None = None


Told = tuple[Any, ...]
"""An outcome by its name and data; positions of the log stand last, where `without_position` takes them away."""


def told(outcome: object) -> Told:
    """Return what the store told, in the model's words."""
    match outcome:
        case Appended():
            return (
                *("appended", outcome.is_repeated, outcome.command_id, outcome.status, outcome.outcome.get("text", "")),
                outcome.position,
            )
        case StreamConflict():
            return ("conflict", outcome.stream, outcome.expected, outcome.actual, None)
        case ClaimTaken():
            return ("claimed", outcome.claim, outcome.stream, None)
        case CounterLimited():
            return ("limited", outcome.counter, outcome.limit, outcome.value, None)
        case AlreadyTracked():
            return ("tracked", outcome.application, outcome.position, None)
        case KeyReused():
            return ("key reused", outcome.key, None)
        case BoundaryCrossed():
            return ("crossed", outcome.position)
        case _:
            return ("unexpected", repr(outcome), None)


def without_position(outcome: Told) -> Told:
    return outcome[:-1]


@dataclass(frozen=True)
class StoredCommand:
    """A command's row."""

    position: int
    status: str
    outcome: str


@dataclass
class StoreModel:
    """The log and all that is kept beside it."""

    head: int = 0
    events: list[tuple[int, UUID, str, AskedEvent]] = field(default_factory=list)
    claims: dict[tuple[str, str], str] = field(default_factory=dict)
    counters: dict[tuple[str, str], int] = field(default_factory=dict)
    tracking: dict[tuple[str, str], int] = field(default_factory=dict)
    commands: dict[tuple[str, UUID], StoredCommand] = field(default_factory=dict)
    keys: dict[tuple[str, str, str], tuple[bytes, UUID, bool]] = field(default_factory=dict)
    """The fingerprint, the command, and whether the key is still remembered."""

    def copy(self) -> "StoreModel":
        parts = {name: part.copy() for name, part in vars(self).items() if name != "head"}
        return replace(self, **parts)

    def version(self, tenant: str, stream: str) -> int | None:
        versions = [event.version for _, _, owner, event in self.events if (owner, event.stream) == (tenant, stream)]
        return max((version for version in versions if version is not None), default=None)

    def apply(self, asked: Asked) -> list[Told]:
        """Apply the append unless something refuses it; return the outcomes of which the store may tell any."""
        for refusals in (self._known(asked), self._by_key(asked), self._conflicts(asked), self._claimed(asked)):
            if refusals:
                return refusals
        for refusals in (self._tracked(asked), self._crossed(asked), self._limited(asked)):
            if refusals:
                return refusals
        self._store(asked)
        command = asked.command
        status, outcome = (command.status, command.outcome) if command else ("accepted", "")
        return [("appended", False, asked.append_id, status, outcome, self.head)]

    def _repeated(self, tenant: str, command_id: UUID) -> Told:
        stored = self.commands[tenant, command_id]
        return ("appended", True, command_id, stored.status, stored.outcome, stored.position)

    def _known(self, asked: Asked) -> list[Told]:
        known = (asked.tenant, asked.append_id) in self.commands
        return [self._repeated(asked.tenant, asked.append_id)] if known else []

    def _by_key(self, asked: Asked) -> list[Told]:
        if asked.command is None or asked.command.key is None:
            return []
        actor, key, fingerprint = asked.command.key
        first_fingerprint, command_id, is_remembered = self.keys.get((asked.tenant, actor, key), (b"", None, False))
        if command_id is None or not is_remembered:
            return []
        return (
            [self._repeated(asked.tenant, command_id)]
            if fingerprint == first_fingerprint
            else [("key reused", key, None)]
        )

    def _conflicts(self, asked: Asked) -> list[Told]:
        return list(self._each_conflict(asked))

    def _each_conflict(self, asked: Asked) -> Iterator[Told]:
        versions: dict[str, list[int]] = {}
        for event in asked.events:
            if event.stream is not None and event.version is not None:
                versions.setdefault(event.stream, []).append(event.version)
        for stream, new in versions.items():
            actual = self.version(asked.tenant, stream)
            follows_on = new == list(range(new[0], new[0] + len(new)))
            # The first version of a stream is 0 or 1.
            if not follows_on or (new[0] not in {0, 1} if actual is None else new[0] != actual + 1):
                yield ("conflict", stream, min(new) - 1, actual or 0, None)
        for stream, expected in asked.expected:
            actual = self.version(asked.tenant, stream) or 0
            if expected != actual:
                yield ("conflict", stream, expected, actual, None)

    def _claimed(self, asked: Asked) -> list[Told]:
        return [
            ("claimed", claim, self.claims[asked.tenant, claim], None)
            for claim, _ in asked.taken
            if (asked.tenant, claim) in self.claims and claim not in asked.released
        ]

    def _tracked(self, asked: Asked) -> list[Told]:
        if asked.tracked is None:
            return []
        application, position = asked.tracked
        reached = self.tracking.get((asked.tenant, application))
        return [] if reached is None or reached < position else [("tracked", application, reached, None)]

    def _crossed(self, asked: Asked) -> list[Told]:
        if asked.boundary is None:
            return []
        after, items = asked.boundary
        return [
            ("crossed", position)
            for position, _, tenant, event in self.events
            if tenant == asked.tenant
            and position > after
            and any((not topics or event.topic in topics) and set(tags) <= set(event.tags) for topics, tags in items)
        ]

    def _limited(self, asked: Asked) -> list[Told]:
        values = [(*counter, self.counters.get((asked.tenant, counter[0]), 0)) for counter in asked.counters]
        return [
            ("limited", name, limit, value, None) for name, add, limit, value in values if not 0 <= value + add <= limit
        ]

    def _store(self, asked: Asked) -> None:
        for event in asked.events:
            self.head += 1
            self.events.append((self.head, asked.append_id, asked.tenant, event))
        for claim in asked.released:
            self.claims.pop((asked.tenant, claim), None)
        for claim, stream in asked.taken:
            self.claims[asked.tenant, claim] = stream
        for name, add, _ in asked.counters:
            self.counters[asked.tenant, name] = self.counters.get((asked.tenant, name), 0) + add
        if asked.tracked is not None:
            self.tracking[asked.tenant, asked.tracked[0]] = asked.tracked[1]
        if asked.command is not None:
            stored = StoredCommand(self.head, asked.command.status, asked.command.outcome)
            self.commands[asked.tenant, asked.append_id] = stored
            self._remember(asked, asked.command)

    def _remember(self, asked: Asked, command: AskedCommand) -> None:
        if command.key is not None and command.seconds is not None:
            actor, key, fingerprint = command.key
            self.keys[asked.tenant, actor, key] = (fingerprint, asked.append_id, command.seconds > 0)
