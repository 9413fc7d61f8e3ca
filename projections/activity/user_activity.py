"""UserActivityView: who did what, one row for each event."""

from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

from domain.knowledge.events import DOCUMENT_EVENTS, ENTRY_EVENTS
from domain.shared.events import Event
from eventstore.records import RecordedEvent
from projections.appended import AppendingProjection


class UserActivityView(AppendingProjection):
    """Events are kept by their position, so that a page of the newest is one short index scan."""

    NAME: ClassVar[str] = "user_activity"
    EVENTS: ClassVar[frozenset[type[Event]]] = frozenset((*ENTRY_EVENTS, *DOCUMENT_EVENTS))
    TABLES: ClassVar[tuple[str, ...]] = ("activities",)
    DDL: ClassVar[str] = """
        create table {activities} (
            tenant       text        not null,
            user_id      text        not null,
            position     bigint      not null,
            event_type   text        not null,
            stream       text        not null,
            command_type text        not null,
            recorded_at  timestamptz not null,
            primary key (tenant, user_id, position)
        );
    """
    INDEXES: ClassVar[str] = "create index on {activities} (tenant, position);"
    MAIN: ClassVar[str] = "activities"
    COLUMNS: ClassVar[tuple[str, ...]] = (
        "tenant",
        "user_id",
        "position",
        "event_type",
        "stream",
        "command_type",
        "recorded_at",
    )

    def rows(self, recorded: RecordedEvent) -> Iterable[Mapping[str, Any]]:
        metadata = recorded.metadata
        yield {
            "tenant": recorded.tenant,
            "user_id": metadata.actor,
            "position": recorded.position,
            "event_type": type(recorded.event).__name__,
            "stream": recorded.stream,
            "command_type": metadata.command_type,
            "recorded_at": recorded.recorded_at,
        }
