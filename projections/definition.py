"""What a projection is: event types in, rows out, in tables that belong to one generation."""

import zlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any, ClassVar, Literal
from uuid import UUID

import psycopg

from domain.shared.events import Event
from eventstore.records import RecordedEvent

Connection = psycopg.AsyncConnection[Any]
Connect = Callable[[], AbstractAsyncContextManager[Connection]]
"""Lends a connection."""
_SCHEMA = "read_models"
_SCHEMA_AS_OF = "as_of"
Purpose = Literal["swap", "hold", "verify", "repair", "as_of"]
"""What becomes of a generation that has caught up: see `projections.rebuilds`."""


class NotReadyError(Exception):
    """What the batch needs is still being made elsewhere; the lane waits, and tries what is left of it again.

    Attributes:
        ready_to: the events up to this position could be applied already; 0 when none can.
    """

    def __init__(self, reason: str, ready_to: int = 0) -> None:
        super().__init__(reason)
        self.ready_to = ready_to


class BatchTooLargeError(Exception):
    """The events of the batch touch more rows than one transaction is to change; the lane applies half of them at once.

    Never raised for one event alone.
    """


@dataclass(frozen=True, slots=True)
class Generation:
    """One set of a projection's tables. A rebuild fills the next one beside the one that is read."""

    projection: str
    number: int
    as_of: UUID | None = None
    """What it is a part of, if it shows the read model as of a past position."""

    def table(self, name: str) -> str:
        """Return the qualified name of the table that the projection calls `name`."""
        schema = _SCHEMA if self.as_of is None else _SCHEMA_AS_OF
        return f"{schema}.{self.projection}_{self.number}_{name}"

    def tables(self, names: Sequence[str]) -> Mapping[str, str]:
        return {name: self.table(name) for name in names}


class Bulk(ABC):
    """Folds all events of a lane in memory, to write its rows at once into tables that are still empty."""

    @property
    @abstractmethod
    def size(self) -> int:
        """How many rows it holds."""

    @abstractmethod
    async def octets(self) -> int:
        """Return how many bytes its rows have in memory: all of them are looked at, and the event loop goes on."""

    @abstractmethod
    def add(self, events: Sequence[RecordedEvent]) -> None:
        """Fold `events`, which follow those of before."""

    @abstractmethod
    async def write(self, connection: Connection, generation: Generation) -> None:
        """Write the rows, in the transaction that is open on `connection`."""


class Projection(ABC):
    """Folds batches of events into rows.

    It knows neither where it runs nor how often its process dies: the rows of a batch and the position are committed
    together. Rows depend on events only, so no `now()`, no serial, no random id, no order of a set. Every table has the
    column `tenant`, first in its primary key; the engine adds row-level security and the readers' rights.
    """

    NAME: ClassVar[str]
    VERSION: ClassVar[int] = 1
    """Raised whenever the same events would give other rows or tables; the highest one that a worker knows is built."""
    EVENTS: ClassVar[frozenset[type[Event]]]
    OVERWRITING: ClassVar[frozenset[type[Event]]] = frozenset()
    """Those of `EVENTS` that leave nothing of what an earlier one of their type has changed.

    Where one comes right after another of its type in a stream, the later one alone makes the same rows. A rebuild in
    memory then does not even decode the earlier one. Where streams are not partitions, it has no effect.
    """
    TABLES: ClassVar[tuple[str, ...]] = ()
    DDL: ClassVar[str] = ""
    """SQL that makes the tables, each named as ``{name}``."""
    INDEXES: ClassVar[str] = ""
    """SQL that makes their other indexes; a rebuild has it done when the tables are filled.

    What `apply` needs belongs to `DDL`, where there is no `bulk`.
    """
    PARTITIONED_BY: ClassVar[Literal["stream", "tenant"]] = "stream"
    """What `partition` returns, unless that is overridden."""
    LANES: ClassVar[int] = 1
    """How many workers can share it, up to `SLOTS`; may be changed at any time."""
    BATCH: ClassVar[int] = 1000
    """The most that is applied in one transaction, in units of `weight`."""
    IS_PIPELINED: ClassVar[bool] = False
    """Whether the statements of `apply` may be sent without waiting for each other, which takes a third of the time.

    What one of them returns is known when it is fetched, `rowcount` not before, and COPY is not possible.
    """
    IS_HEAVY: ClassVar[bool] = False
    """Whether an event is much work, as for an index of texts: when live, such lanes of a process take turns."""
    IS_REBUILDABLE: ClassVar[bool] = True
    """False for reactors: their rows are work, and doing it twice would be wrong."""

    def partition(self, recorded: RecordedEvent) -> str:
        """Return the key within which events must stay in order, and wait when one before them could not be applied."""
        return recorded.tenant if self.PARTITIONED_BY == "tenant" else f"{recorded.tenant}/{recorded.stream}"

    def partitioned_by(self) -> Literal["stream", "tenant"] | None:
        """Return what readers of the log can tell partitions by; None where `partition` is overridden."""
        return self.PARTITIONED_BY if type(self).partition is Projection.partition else None

    def definition(self) -> str:
        """Return what changes when the same events would give other rows: it begins with the version and a dot."""
        return f"{self.VERSION}.{zlib.crc32((self.ddl() + self.indexes()).encode()):08x}"

    def ddl(self) -> str:
        """Return the SQL that makes the tables of a generation."""
        return self.DDL

    def indexes(self) -> str:
        """Return the SQL that makes the indexes besides the primary keys."""
        return self.INDEXES

    def bulk(self) -> Bulk | None:
        """Return what fills empty tables faster than `apply`; None where only `apply` does it."""
        return None

    async def prepare(  # noqa: B027 - most projections need nothing more
        self, connection: Connection, generation: Generation, events: Sequence[RecordedEvent]
    ) -> Any:
        """Fetch what `apply` needs besides the events, before the transaction begins.

        The lane's lease makes this worker the only one that writes the tables, so what is read here still holds then.

        Raises:
            NotReadyError: it is still being made.
            BatchTooLargeError: the events touch too much for one transaction.
        """

    async def work_out(self, generation: Generation, prepared: Any, connect: Connect) -> Any:
        """Return what `apply` is given, made of what `prepare` returned: what takes seconds, with no connection held.

        Raises:
            NotReadyError, BatchTooLargeError: as for `prepare`.
        """
        return prepared

    @abstractmethod
    async def apply(
        self, connection: Connection, generation: Generation, events: Sequence[RecordedEvent], prepared: Any
    ) -> None:
        """Write the rows of `events`, which are in order, in the transaction that is open on `connection`."""

    def weight(self, recorded: RecordedEvent) -> int:
        """Return how much work an event is, compared with others: batches are cut by it."""
        return 1

    def committed(self) -> None:  # noqa: B027 - most projections have nobody to wake
        """Wake whoever waits for what a batch wrote; called after its commit, or never when the process dies first."""

    def takes(self, recorded: RecordedEvent) -> bool:
        """Whether the event is for this projection."""
        return type(recorded.event) in self.EVENTS
