"""The same table with the `eventsourcing` library's ProjectionRunner, as it comes: one transaction for each event."""

import time
from dataclasses import dataclass
from typing import Any, ClassVar
from uuid import UUID, uuid4

from eventsourcing.application import Application
from eventsourcing.domain import DomainEvent, datetime_now_with_tzinfo
from eventsourcing.persistence import Tracking
from eventsourcing.postgres import PostgresDatastore, PostgresTrackingRecorder
from eventsourcing.projection import Projection, ProjectionRunner
from psycopg.conninfo import conninfo_to_dict
from psycopg.sql import SQL
from psycopg.types.json import Jsonb

from varve.settings import Settings

_APPENDED_AT_ONCE = 100  # entries
_EVENTS_EACH = 10
_DESCRIBED: dict[str, Any] = {
    "visibility": "tenant",
    "description": "a yearly layer",
    "entity_type": "note",
    "category": None,
    "tags": ["clay", "silt"],
    "attributes": {},
}
_TABLE = """
create table if not exists library_entries (
    entry_id uuid primary key, owner text not null, visibility text not null, name text not null,
    description text not null, entity_type text not null, category text, tags text[] not null,
    attributes jsonb not null, links jsonb not null, version integer not null,
    created_at timestamptz not null, updated_at timestamptz not null
)
"""
_CREATED = """
insert into library_entries values (%(entry_id)s, %(owner)s, %(visibility)s, %(name)s, %(description)s, %(entity_type)s,
    %(category)s, %(tags)s, %(attributes)s, '[]', %(version)s, %(at)s, %(at)s)
"""
_UPDATED = """
update library_entries set visibility = %(visibility)s, name = %(name)s, description = %(description)s,
    entity_type = %(entity_type)s, category = %(category)s, tags = %(tags)s, attributes = %(attributes)s,
    version = %(version)s, updated_at = %(at)s
where entry_id = %(entry_id)s
"""
_LINKED = """
update library_entries set links = links || %(link)s, version = %(version)s, updated_at = %(at)s
where entry_id = %(entry_id)s
"""


@dataclass(frozen=True)
class EntryEvent(DomainEvent):
    statement: str
    data: dict[str, Any]


class Entries(Application[UUID]):
    """What the projection follows."""


class EntryTable(PostgresTrackingRecorder):
    """The rows, and the position."""

    def __init__(self, datastore: PostgresDatastore, **kwargs: Any) -> None:
        super().__init__(datastore, **kwargs)
        self.sql_create_statements.append(SQL(_TABLE))

    def change(self, statement: str, parameters: dict[str, Any], tracking: Tracking) -> None:
        with self.datastore.transaction(commit=True) as cursor:
            self._insert_tracking(cursor, tracking)
            cursor.execute(statement.encode(), parameters, prepare=True)


class EntryProjection(Projection[EntryTable]):
    name = "entries_view"
    STATEMENTS: ClassVar[dict[str, str]] = {"created": _CREATED, "updated": _UPDATED, "linked": _LINKED}

    def process_event(self, domain_event: EntryEvent, tracking: Tracking) -> None:
        parameters = {
            name: Jsonb(value) if isinstance(value, dict) else value for name, value in domain_event.data.items()
        }
        self.view.change(
            self.STATEMENTS[domain_event.statement],
            parameters
            | {
                "entry_id": domain_event.originator_id,
                "version": domain_event.originator_version,
                "at": domain_event.timestamp,
            },
            tracking,
        )


def events_per_second(settings: Settings, events: int) -> float:
    """Return how many events a second a runner applies that finds so many."""
    url = conninfo_to_dict(settings.required_database_url())
    env = {
        "PERSISTENCE_MODULE": "eventsourcing.postgres",
        "POSTGRES_DBNAME": str(url["dbname"]),
        "POSTGRES_HOST": str(url["host"]),
        "POSTGRES_PORT": "5432",
        "POSTGRES_USER": str(url["user"]),
        "POSTGRES_PASSWORD": str(url["password"]),
    }
    with Entries(env) as application:
        for start in range(0, events // _EVENTS_EACH, _APPENDED_AT_ONCE):
            entries = min(_APPENDED_AT_ONCE, events // _EVENTS_EACH - start)
            made = [event for _ in range(entries) for event in _entry()]
            application.recorder.insert_events([application.mapper.to_stored_event(event) for event in made])
    began = time.perf_counter()
    with ProjectionRunner(
        application_class=Entries, projection_class=EntryProjection, view_class=EntryTable, env=env
    ) as runner:
        runner.wait(events, timeout=600)
        return events / (time.perf_counter() - began)


def _entry() -> list[EntryEvent]:
    entry_id, at = uuid4(), datetime_now_with_tzinfo()
    link = {"link": {"target_id": str(uuid4()), "relation": "cites"}}
    updates = [("updated", _DESCRIBED | {"name": f"Name {number}"}) for number in range(_EVENTS_EACH - 2)]
    changes = [("created", _DESCRIBED | {"name": "A name", "owner": "benchmark"}), *updates, ("linked", link)]
    return [
        EntryEvent(originator_id=entry_id, originator_version=version, timestamp=at, statement=statement, data=data)
        for version, (statement, data) in enumerate(changes, start=1)
    ]
