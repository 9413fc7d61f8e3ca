"""What a projection is: event types in, rows out, in tables that belong to one generation."""

import zlib
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import psycopg

from domain.shared.events import Event
from eventstore.records import RecordedEvent

Connection = psycopg.AsyncConnection[Any]
SCHEMA = "read_models"


class NotReadyError(Exception):
    """What the batch needs is still being made elsewhere; the lane waits and tries the same batch again."""


@dataclass(frozen=True, slots=True)
class Generation:
    """One set of a projection's tables. A rebuild fills the next one beside the one that is read."""

    projection: str
    number: int

    def table(self, name: str) -> str:
        """Return the qualified name of the table that the projection calls `name`."""
        return f"{SCHEMA}.{self.projection}_{self.number}_{name}"

    def tables(self, names: Sequence[str]) -> Mapping[str, str]:
        return {name: self.table(name) for name in names}


class Projection(ABC):
    """Folds batches of events into rows.

    It knows neither where it runs nor how often its process dies: the rows of a batch and the position are committed
    together. Rows depend on events only, so no `now()`, no serial, no random id, no order of a set. Every table has the
    column `tenant`, first in its primary key; the engine adds row-level security and the readers' rights.
    """

    NAME: ClassVar[str]
    EVENTS: ClassVar[frozenset[type[Event]]]
    TABLES: ClassVar[tuple[str, ...]] = ()
    DDL: ClassVar[str] = ""
    """SQL that makes the tables, each named as ``{name}``."""
    LANES: ClassVar[int] = 1
    BATCH: ClassVar[int] = 1000
    """The most that is applied in one transaction, in units of `weight`."""
    IS_REBUILDABLE: ClassVar[bool] = True
    """False for reactors: their rows are work, and doing it twice would be wrong."""

    def partition(self, recorded: RecordedEvent) -> str:
        """Return the key within which events must stay in order."""
        return f"{recorded.tenant}/{recorded.stream}"

    def definition(self) -> str:
        """Return what changes when the same events would give other rows."""
        return f"{zlib.crc32(self.ddl().encode()):08x}"

    def ddl(self) -> str:
        """Return the SQL that makes the tables of a generation."""
        return self.DDL

    async def prepare(  # noqa: B027 - most projections need nothing more
        self, connection: Connection, generation: Generation, events: Sequence[RecordedEvent]
    ) -> Any:
        """Fetch what `apply` needs besides the events, before the transaction begins.

        The lane's lease makes this worker the only one that writes the tables, so what is read here still holds then.

        Raises:
            NotReadyError: it is still being made.
        """

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

    def takes(self, recorded: RecordedEvent, lane: int, lanes: int) -> bool:
        """Whether the event is for this projection and for `lane` of its `lanes`."""
        if type(recorded.event) not in self.EVENTS:
            return False
        return lanes == 1 or zlib.crc32(self.partition(recorded).encode()) % lanes == lane
