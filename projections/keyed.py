"""A projection with one row for each key: what its author writes is the row, its key and one step."""

from abc import abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Any, ClassVar, Generic, TypeVar
from uuid import UUID

from eventstore.records import RecordedEvent
from eventstore.voiding import EventVoided
from projections.definition import Bulk, Connection, Generation, Projection
from projections.filling import octets_of
from projections.rows import Gone, Key, KeyedRows, fold_into, in_order, many_in_order, write_rows
from projections.slices import in_turns, sliced, sorted_in_turns

R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class Following(Generic[R]):
    """A table whose rows follow from a row of the main one alone, such as its tags.

    Attributes:
        table: its name, as in `TABLES`.
        columns: of the rows, the main table's key among them.
        rows: returns a row's own, as mappings with these columns; each once.
    """

    table: str
    columns: tuple[str, ...]
    rows: Callable[[R], Sequence[Mapping[str, Any]]]


class KeyedProjection(Projection, Generic[R]):
    """Folds each event into the row of its key."""

    IS_PIPELINED: ClassVar[bool] = True
    MAIN: ClassVar[str]
    """The table of the rows."""
    ROWS: ClassVar[KeyedRows[Any]]
    FOLLOWING: ClassVar[tuple[Following[Any], ...]] = ()

    @abstractmethod
    def key(self, recorded: RecordedEvent) -> Key:
        """Return the key of the row that the event is about; events of one key are of one partition."""

    @abstractmethod
    def step(self, row: R | None, recorded: RecordedEvent) -> R | Gone | None:
        """Return the row after the event, which may be `row`, changed; `GONE` deletes it, None leaves it as it is."""

    async def apply(
        self, connection: Connection, generation: Generation, events: Sequence[RecordedEvent], prepared: None
    ) -> None:
        table = generation.table(self.MAIN)
        rows = await self.ROWS.load(connection, table, {self.key(event) for event in events})
        before = [{key: following.rows(row) for key, row in rows.items()} for following in self.FOLLOWING]
        loaded = set(rows)
        fold_into(rows, events, key=self.key, step=self.step)
        deleted = in_order(loaded - rows.keys())
        keys = in_order(rows)
        await self.ROWS.save(connection, table, [rows[key] for key in keys])
        if deleted:
            await self.ROWS.delete_of(connection, table, deleted)
        for following, followed in zip(self.FOLLOWING, before, strict=True):
            changed = [key for key in keys if key not in loaded or following.rows(rows[key]) != followed[key]]
            await self._replace(connection, generation, following, [*changed, *deleted], [rows[key] for key in changed])

    def bulk(self) -> Bulk:
        return _KeyedBulk(self)

    async def _replace(
        self,
        connection: Connection,
        generation: Generation,
        following: Following[R],
        keys: Sequence[Key],
        rows: Iterable[R],
    ) -> None:
        if not keys:
            return
        table = generation.table(following.table)
        await self.ROWS.delete_of(connection, table, keys)
        await write_rows(connection, table, following.columns, await _flat(following, rows))


class StreamProjection(KeyedProjection[R]):
    """Keeps one row for each stream of a kind: its key is the tenant and the id of the stream's aggregate."""

    STREAM: ClassVar[str]
    """What the names of these streams begin with; the id follows."""
    ID: ClassVar[str]
    """The field of their events that holds the id."""

    def takes(self, recorded: RecordedEvent) -> bool:
        """Take what voids an event of ours, but not what voids others'."""
        event_type = type(recorded.event)
        if event_type is EventVoided and not (recorded.stream or "").startswith(self.STREAM):
            return False
        return event_type in self.EVENTS

    def key(self, recorded: RecordedEvent) -> Key:
        if isinstance(recorded.event, EventVoided):
            return recorded.tenant, UUID(recorded.stream.removeprefix(self.STREAM))
        return recorded.tenant, getattr(recorded.event, self.ID)  # quicker than to read it from the stream's name


class _KeyedBulk(Bulk, Generic[R]):
    """Every row of a lane, in memory."""

    def __init__(self, projection: KeyedProjection[R]) -> None:
        self._projection = projection
        self._rows: dict[Key, R] = {}

    @property
    def size(self) -> int:
        return len(self._rows)

    async def octets(self) -> int:
        return await octets_of(self._rows.values())

    def add(self, events: Sequence[RecordedEvent]) -> None:
        fold_into(self._rows, events, key=self._projection.key, step=self._projection.step)

    async def write(self, connection: Connection, generation: Generation) -> None:
        projection = self._projection
        rows = [self._rows[key] for key in await many_in_order(self._rows)]
        await projection.ROWS.insert(connection, generation.table(projection.MAIN), rows)
        for following in projection.FOLLOWING:
            table = generation.table(following.table)
            await write_rows(connection, table, following.columns, await _flat(following, rows))


async def _flat(following: Following[R], rows: Iterable[R]) -> list[Mapping[str, Any]]:
    """Return what follows from `rows`, in the order of its columns: that of the primary key, if they begin with it."""
    flat: list[Mapping[str, Any]] = []
    async for some in in_turns(sliced(rows, lambda _: 0)):
        flat += [each for row in some for each in following.rows(row)]
    return await sorted_in_turns(flat, itemgetter(*following.columns))
