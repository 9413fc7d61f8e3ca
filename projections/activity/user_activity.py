"""UserActivityView: who did what, one row for each event."""

from collections.abc import Sequence
from typing import ClassVar

from domain.knowledge.events import DOCUMENT_EVENTS, ENTRY_EVENTS
from domain.shared.events import Event
from eventstore.records import RecordedEvent
from projections.definition import Connection, Generation, Projection
from projections.rows import columns_of


class UserActivityView(Projection):
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
        create index on {activities} (tenant, position);
    """

    async def apply(
        self, connection: Connection, generation: Generation, events: Sequence[RecordedEvent], prepared: None
    ) -> None:
        rows = [
            (
                event.tenant,
                event.metadata.actor,
                event.position,
                type(event.event).__name__,
                event.stream,
                event.metadata.command_type,
                event.recorded_at,
            )
            for event in events
        ]
        await connection.execute(
            f"insert into {generation.table('activities')} "
            "select * from unnest(%s::text[], %s::text[], %s::bigint[], %s::text[], %s::text[], %s::text[], "
            "%s::timestamptz[])",
            columns_of(rows, 7),
        )
