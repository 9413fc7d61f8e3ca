"""A projection in stages: a later one reads the rows of those before it, and all have one checkpoint."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

from domain.shared.events import Event
from eventstore.records import RecordedEvent
from projections.definition import Connection, Generation, Projection


class Stage(ABC):
    """Tables of a group, and what is written to them.

    It reads its own tables and those of the stages before it, of the same generation, and there only what belongs to
    the partitions of its events: other lanes are at other positions. The stages before it have written the whole batch
    when its turn comes, so that a row which changed twice is seen once, and what it writes must follow from the rows as
    they are then.
    """

    EVENTS: ClassVar[frozenset[type[Event]]]
    TABLES: ClassVar[tuple[str, ...]]
    DDL: ClassVar[str]
    INDEXES: ClassVar[str] = ""

    @abstractmethod
    async def apply(self, connection: Connection, generation: Generation, events: Sequence[RecordedEvent]) -> None:
        """Write the rows of `events`, which are of the stage's types and in order."""


class GroupProjection(Projection):
    """Applies each batch by one stage after another, in one transaction; an event that fails in any is parked for all.

    Events, tables and SQL are those of the stages.
    """

    STAGES: ClassVar[tuple[Stage, ...]]

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls.EVENTS = frozenset[type[Event]]().union(*(stage.EVENTS for stage in cls.STAGES))
        cls.TABLES = tuple(table for stage in cls.STAGES for table in stage.TABLES)
        cls.DDL = "".join(f"{stage.DDL}\n;\n" for stage in cls.STAGES)
        cls.INDEXES = "".join(f"{stage.INDEXES}\n;\n" for stage in cls.STAGES if stage.INDEXES)

    async def apply(
        self, connection: Connection, generation: Generation, events: Sequence[RecordedEvent], prepared: None
    ) -> None:
        for stage in self.STAGES:
            own = [event for event in events if type(event.event) in stage.EVENTS]
            if own:
                await stage.apply(connection, generation, own)
