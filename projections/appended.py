"""A projection that keeps something of each event, and never looks back: histories, activities, buckets of time."""

from abc import abstractmethod
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar

from eventstore.records import RecordedEvent
from projections.definition import Bulk, Connection, Generation, Projection
from projections.filling import octets_of
from projections.rows import Key, arrays_of, columns_of, write_rows
from projections.slices import bytes_of, in_turns, sliced, sorted_in_turns


class AppendingProjection(Projection):
    """Adds rows for each event."""

    IS_PIPELINED: ClassVar[bool] = True
    MAIN: ClassVar[str]
    COLUMNS: ClassVar[tuple[str, ...]]

    @abstractmethod
    def rows(self, recorded: RecordedEvent) -> Iterable[Mapping[str, Any]]:
        """Return what the event adds; their key holds its position."""

    async def apply(
        self, connection: Connection, generation: Generation, events: Sequence[RecordedEvent], prepared: None
    ) -> None:
        rows = [row for event in events for row in self.rows(event)]
        await write_rows(connection, generation.table(self.MAIN), self.COLUMNS, rows)

    def bulk(self) -> Bulk:
        return _AppendingBulk(self)


class CountingProjection(Projection):
    """Adds to counters, such as events by tenant and day. Partitions may share a counter: an addition has no order."""

    IS_PIPELINED: ClassVar[bool] = True
    MAIN: ClassVar[str]
    KEY: ClassVar[Mapping[str, str]]
    """The columns of a counter's key and their SQL types, the tenant first."""
    COUNT: ClassVar[str] = "count"
    """The column of type `bigint` that counts."""

    @abstractmethod
    def counts(self, recorded: RecordedEvent) -> Iterable[tuple[Key, int]]:
        """Return the keys of the counters that the event moves, and by how much."""

    async def apply(
        self, connection: Connection, generation: Generation, events: Sequence[RecordedEvent], prepared: None
    ) -> None:
        await self.add(connection, generation, _sum(self, events))

    async def add(self, connection: Connection, generation: Generation, counts: Counter[Key]) -> None:
        """Add to the counters, in the order of their keys: two lanes that share some never wait for each other."""
        if not counts:
            return
        names = ", ".join(self.KEY)
        statement = (
            f"insert into {generation.table(self.MAIN)} as c ({names}, {self.COUNT}) "
            f"select * from unnest({arrays_of([*self.KEY.values(), 'bigint'])}) "
            f"on conflict ({names}) do update set {self.COUNT} = c.{self.COUNT} + excluded.{self.COUNT}"
        )
        async for keys in in_turns(sliced(await sorted_in_turns(counts), _octets)):
            await connection.execute(statement, columns_of([(*key, counts[key]) for key in keys], len(self.KEY) + 1))

    def bulk(self) -> Bulk:
        return _CountingBulk(self)


class _AppendingBulk(Bulk):
    def __init__(self, projection: AppendingProjection) -> None:
        self._projection = projection
        self._rows: list[Mapping[str, Any]] = []

    @property
    def size(self) -> int:
        return len(self._rows)

    async def octets(self) -> int:
        return await octets_of(self._rows)

    def add(self, events: Sequence[RecordedEvent]) -> None:
        self._rows += [row for event in events for row in self._projection.rows(event)]

    async def write(self, connection: Connection, generation: Generation) -> None:
        table = generation.table(self._projection.MAIN)
        await write_rows(connection, table, self._projection.COLUMNS, self._rows)


class _CountingBulk(Bulk):
    def __init__(self, projection: CountingProjection) -> None:
        self._projection = projection
        self._counts: Counter[Key] = Counter()

    @property
    def size(self) -> int:
        return len(self._counts)

    async def octets(self) -> int:
        return await octets_of(self._counts)

    def add(self, events: Sequence[RecordedEvent]) -> None:
        self._counts.update(_sum(self._projection, events))

    async def write(self, connection: Connection, generation: Generation) -> None:
        await self._projection.add(connection, generation, self._counts)


def _sum(projection: CountingProjection, events: Iterable[RecordedEvent]) -> Counter[Key]:
    counts: Counter[Key] = Counter()
    for event in events:
        for key, number in projection.counts(event):
            counts[key] += number
    return counts


def _octets(key: Key) -> int:
    return sum(bytes_of(part) if isinstance(part, str) else 8 for part in key)
