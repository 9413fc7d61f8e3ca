"""What a query needs from outside: the live read models, and the log of one stream."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol
from uuid import UUID

from domain.shared.access import Actor
from eventstore.position import LogPosition
from eventstore.stream_reader import StreamEvents

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Question:
    """SQL about read models; ``{model.table}`` stands for a table of the model's live generation."""

    models: tuple[str, ...]
    sql: str
    parameters: Mapping[str, Any] = field(default_factory=dict)
    settings: Mapping[str, str] = field(default_factory=dict)
    """Settings of PostgreSQL for this question alone."""
    is_by_key: bool = False
    """It asks one model for what has one key, which PostgreSQL looks up in the same way whatever the key."""


class Reading(Protocol):
    """Rows, and the position that each model had reached when they were read."""

    @property
    def rows(self) -> Sequence[Row]: ...

    @property
    def positions(self) -> Mapping[str, int]: ...

    @property
    def generations(self) -> Mapping[str, int]: ...

    @property
    def versions(self) -> Mapping[str, str]: ...

    @property
    def definitions(self) -> Mapping[str, str]: ...

    @property
    def position(self) -> int: ...

    @property
    def epoch(self) -> str: ...

    @property
    def parked(self) -> int: ...


class Reached(Protocol):
    """How far some read models are in the log, and how long it is."""

    @property
    def epoch(self) -> str: ...

    @property
    def head(self) -> int: ...

    @property
    def position(self) -> int: ...

    def position_of(self, token: str, /) -> int: ...


class ReadModels(Protocol):
    """Answers questions as the reader role, in one tenant, from one generation of each model.

    `as_of` returns those that were built as of a past position, None unless all of `models` were.
    """

    async def read(self, actor: Actor, question: Question, least: LogPosition | None = None) -> Reading: ...

    async def reached(self, models: Sequence[str]) -> Reached: ...

    async def check_epoch(self) -> None: ...

    async def as_of(self, actor: Actor, as_of: UUID, models: Sequence[str], /) -> "ReadModels | None": ...


class StreamReader(Protocol):
    """Reads one stream of the log as the reader role, in one tenant."""

    async def stream(self, tenant: str, stream: str) -> StreamEvents: ...


class Changes(Protocol):
    """Knows for which tenants and read models the log has news, as of a moment ago."""

    def is_known(self) -> bool: ...

    async def know(self) -> bool: ...

    def is_current(
        self, tenant: str, positions: Mapping[str, int], versions: Mapping[str, str], epoch: str, /
    ) -> bool: ...


@dataclass(frozen=True, slots=True)
class KeptAnswer:
    """What a list of kept answers shows of one, and its bytes; `kind` is the query's name."""

    kind: str
    results: int
    content: bytes


@dataclass(frozen=True, slots=True)
class KeptSummary:
    """One of the answers that are kept for all processes; `expires_in_seconds` is the rest of its time."""

    kind: str
    query_hash: str
    results: int
    hits: int
    expires_in_seconds: float


class SharedAnswers(Protocol):
    """Keeps answers where other processes find them. It may lose any of them, and never fails: it has none then."""

    async def get(self, tenant: str, query_hash: str, /) -> bytes | None: ...

    def put(self, tenant: str, query_hash: str, answer: KeptAnswer, /) -> None: ...

    def note_hit(self, tenant: str, query_hash: str, /) -> None: ...

    async def list(self, tenant: str, limit: int, /) -> Sequence[KeptSummary]: ...
